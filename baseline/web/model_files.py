"""Prepared models as files: found through the manifest, loaded only if their sha256 is the recorded one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 5
# Weights as plain numbers, and what tokenizers read: nothing that runs code when it is loaded, as pickles do.
KINDS = {".json", ".safetensors", ".spm", ".txt"}


class ArtefactError(Exception):
    """A model that cannot be served; the text says which file and what mends it."""


@dataclass(frozen=True)
class Artefact:
    """One prepared model: its folder and what the manifest says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    def verify(self) -> None:
        """Raises ArtefactError unless the folder holds the manifest's files alone, as they were written."""
        self._check_names()
        for name, entry in self.facts["files"].items():
            try:
                with (self.folder / name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise ArtefactError(
                    f"model file {self.name}/{name} cannot be read ({error.strerror}); "
                    "`python optimize_model.py` mends it"
                ) from None
            if digest != entry["sha256"]:
                raise ArtefactError(
                    f"model file {self.name}/{name} is damaged; `python optimize_model.py` mends it"
                )

    def _check_names(self) -> None:
        listed = self.facts["files"]
        for name in listed:
            if Path(name).name != name or name == ".." or (self.folder / name).is_symlink():
                raise ArtefactError(f"model file {self.name}/{name} is outside its folder, and not loaded")
            if Path(name).suffix not in KINDS:
                raise ArtefactError(f"model file {self.name}/{name} is of a kind that is not loaded")
        for path in sorted(self.folder.glob("*")):
            # Libraries load some files merely because they are there.
            if path.name not in listed:
                raise ArtefactError(
                    f"model file {self.name}/{path.name} is not in the manifest; "
                    "`python optimize_model.py` mends it"
                )


def find_artefact(models_dir: Path, name: str) -> Artefact:
    """The artefact `name` of `models_dir`; ArtefactError where the manifest does not list it or is older."""
    try:
        manifest = json.loads((models_dir / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise ArtefactError(
                f"{models_dir} was prepared by another version; `python optimize_model.py` renews it"
            )
        facts = manifest["artefacts"][name]
    except OSError:
        raise ArtefactError(
            f"{models_dir} holds no models; `python optimize_model.py` prepares them "
            "(GAP_MODELS_DIR names another folder)"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(
            f"{models_dir}/manifest.json does not list {name}; `python optimize_model.py` prepares it"
        ) from None
    return Artefact(name, models_dir / name, facts)
