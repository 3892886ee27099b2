"""Prepared models as files: found through the manifest, loaded only if their sha256 is the recorded one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 4


class ArtefactError(Exception):
    """A model that cannot be served; the text says which file and what mends it."""


@dataclass(frozen=True)
class Artefact:
    """One prepared model: its folder and what the manifest says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    def verify(self) -> None:
        """Raises ArtefactError unless every file has the bytes that it was written with."""
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
