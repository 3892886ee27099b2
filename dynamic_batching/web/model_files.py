"""Prepared models as files: found through the manifest, loaded only if their sha256 is the recorded one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 5
# The one kind of file that is code: compiled where the models were prepared.
KERNELS_FILE = "kernels.so"
# Weights as plain numbers, and what tokenizers read: nothing that runs code when it is loaded, as pickles do.
KINDS = {".bin", ".json", ".onnx", ".spm"}


class ArtefactError(Exception):
    """A model that cannot be served; the text says which file and what mends it."""


@dataclass(frozen=True)
class Artefact:
    """One prepared model: its folder and what the manifest says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    @property
    def kernels(self) -> Path | None:
        """The library of operators that the graphs need beside ONNX Runtime's own, if they do."""
        return self.folder / KERNELS_FILE if self.facts.get("kernels") == "native" else None

    @property
    def fingerprint(self) -> str:
        """A digest of all the artefact's files: another model, another fingerprint."""
        digests = "".join(entry["sha256"] for _, entry in sorted(self.facts["files"].items()))
        return hashlib.sha256(digests.encode()).hexdigest()[:16]

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
            if Path(name).suffix not in KINDS and name != KERNELS_FILE:
                raise ArtefactError(f"model file {self.name}/{name} is of a kind that is not loaded")
        for path in sorted(self.folder.glob("*")):
            # Libraries load some files merely because they are there.
            if path.name not in listed:
                raise ArtefactError(
                    f"model file {self.name}/{path.name} is not in the manifest; "
                    "`python optimize_model.py` mends it"
                )


def find_artefact(models_dir: Path, name: str) -> Artefact:
    """The artefact `name` of `models_dir`.

    Raises:
        ArtefactError: the manifest does not list it or is older, or this CPU cannot run its kernels.
    """
    try:
        manifest = json.loads((models_dir / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise ArtefactError(
                f"{models_dir} was prepared by another version; `python optimize_model.py` renews it"
            )
        facts = manifest["artefacts"][name]
        missing = sorted({*facts["cpu_flags"]} - cpu_flags()) if facts.get("kernels") == "native" else []
    except OSError:
        raise ArtefactError(
            f"{models_dir} holds no models; `python optimize_model.py` prepares them "
            "(GAP_MODELS_DIR names another folder)"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(
            f"{models_dir}/manifest.json does not list {name}; `python optimize_model.py` prepares it"
        ) from None
    if missing:
        raise ArtefactError(
            f"{models_dir} was prepared for a CPU with {', '.join(missing)}, which this one lacks; "
            "`python optimize_model.py --kernels onnxruntime` prepares models for any"
        )
    return Artefact(name, models_dir / name, facts)


def cpu_flags() -> set[str]:
    """The instruction sets of this CPU as Linux names them; none on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
