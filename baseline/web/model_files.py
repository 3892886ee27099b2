"""Prepared models as files: found through the manifest, loaded only if their sha256 is the recorded one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 5
# Weights as plain numbers, and what tokenizers read: nothing that runs code when it is loaded, as pickles do.
# The one exception is kernels.so, compiled where the models were prepared.
KERNELS_FILE = "kernels.so"
SUFFIXES = {
    "pytorch": (".json", ".safetensors", ".spm", ".txt"),
    "onnx": (".bin", ".json", ".onnx", ".spm", KERNELS_FILE),
}
RECREATE = "re-create it with `python optimize_model.py`"


class ModelFilesError(Exception):
    """A model that cannot be served; the text says which file and how to re-create it."""


@dataclass(frozen=True)
class ModelFiles:
    """One prepared model, such as "translation/onnx": its folder and what the manifest says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    def verify(self) -> None:
        """Raises ModelFilesError unless the folder holds the manifest's files alone, as they were written."""
        listed = self.facts["files"]
        for name in listed:
            if Path(name).name != name or name == ".." or (self.folder / name).is_symlink():
                raise self._error(name, "is outside its folder, and not loaded")
            if not name.endswith(SUFFIXES[Path(self.name).name]):
                raise self._error(name, "is of a kind that is not loaded")
        for path in sorted(self.folder.glob("*")):
            # Libraries load some files merely because they are there.
            if path.name not in listed:
                raise self._error(path.name, f"is not in the manifest; {RECREATE}")
        for name, entry in listed.items():
            try:
                with (self.folder / name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise self._error(name, f"cannot be read ({error.strerror}); {RECREATE}") from None
            if digest != entry["sha256"]:
                raise self._error(name, f"is damaged; {RECREATE}")

    def _error(self, file: str, problem: str) -> ModelFilesError:
        return ModelFilesError(f"model file {self.name}/{file} {problem}")


def find_model_files(models_dir: Path, name: str) -> ModelFiles:
    """The model `name` of `models_dir`; ModelFilesError where the manifest does not list it or is older."""
    try:
        manifest = json.loads((models_dir / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise ModelFilesError(f"{models_dir} was prepared by another version; {RECREATE}")
        return ModelFiles(name, models_dir / name, manifest["artefacts"][name])
    except OSError:
        prepare = "`python optimize_model.py` prepares them (GAP_MODELS_DIR names another folder)"
        raise ModelFilesError(f"{models_dir} holds no models; {prepare}") from None
    except (ValueError, KeyError, TypeError):
        raise ModelFilesError(f"{models_dir}/manifest.json does not list {name}; {RECREATE}") from None
