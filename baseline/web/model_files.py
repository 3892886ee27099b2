"""Prepared models as files: found through the manifest, loaded only if their sha256 is the recorded one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 6
# Nothing that runs code when it is loaded, as pickles do, but kernels.so, compiled where they were prepared.
KERNELS_FILE = "kernels.so"
SUFFIXES = {"pytorch": {".json", ".safetensors", ".spm", ".txt"}, "onnx": {".bin", ".json", ".onnx", ".spm"}}
RECREATE = "re-create it with `python optimize_model.py --output {}`"
ALLOW = "its owner lets others read it with `chmod -R a+rX {}`"


class ModelFilesError(Exception):
    """A model that cannot be served; the text says which file and how to re-create it."""


class Languages(NamedTuple):
    """The codes of a translation model's languages; `und` (BCP 47) where the manifest does not say."""

    source: str
    target: str


@dataclass(frozen=True)
class ModelFiles:
    """One prepared model, such as "translation/onnx": its folder and what the manifest says of it."""

    name: str
    folder: Path
    facts: dict[str, Any]

    def verify(self) -> None:
        """Raises ModelFilesError unless the folder holds the manifest's files alone, as they were written.

        Hidden files are passed over: nothing loads them, and macOS leaves them wherever it has looked.
        """
        # Libraries load some other files merely because they are there.
        for name in sorted({*self.facts["files"], *(path.name for path in self.folder.glob("[!.]*"))}):
            try:
                problem = self._problem(name)
            except PermissionError as error:
                problem = f"cannot be read by this user ({error.strerror}); {ALLOW.format(self.folder)}"
                raise ModelFilesError(f"model file {self.name}/{name} {problem}") from error
            except OSError as error:
                problem = f"cannot be read ({error.strerror}); {self._remedy}"
            if problem:
                raise ModelFilesError(f"model file {self.name}/{name} {problem}")

    def _problem(self, name: str) -> str | None:
        path, entry = self.folder / name, self.facts["files"].get(name)
        if entry is None:
            return "is not in the manifest; remove it"
        if Path(name).name != name or name == ".." or path.is_symlink():
            return "is outside its folder, and not loaded"
        if path.suffix not in SUFFIXES[Path(self.name).name] and name != KERNELS_FILE:
            return "is of a kind that is not loaded"
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return None if digest == entry["sha256"] else f"is damaged; {self._remedy}"

    @property
    def languages(self) -> Languages:
        """Of a translation model."""
        return Languages(*(self.facts.get(f"{end}_language", "und") for end in ("source", "target")))

    @property
    def _remedy(self) -> str:
        return RECREATE.format(self.folder.parent.parent)


def find_model_files(models_dir: Path, name: str) -> ModelFiles:
    """The model `name` of `models_dir`; ModelFilesError where the manifest does not list it or is older."""
    recreate = RECREATE.format(models_dir)
    try:
        manifest = json.loads((models_dir / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise ModelFilesError(f"{models_dir} was prepared by another version; {recreate}")
        return ModelFiles(name, models_dir / name, manifest["artefacts"][name])
    except PermissionError as error:
        unreadable = f"{error.filename} cannot be read by this user ({error.strerror})"
        raise ModelFilesError(f"{unreadable}; {ALLOW.format(models_dir)}") from None
    except OSError:
        prepare = (
            f"`python optimize_model.py --output {models_dir}` prepares them (GAP_MODELS_DIR sets the folder)"
        )
        raise ModelFilesError(f"{models_dir} holds no models; {prepare}") from None
    except (ValueError, KeyError, TypeError):
        raise ModelFilesError(f"{models_dir}/manifest.json does not list {name}; {recreate}") from None
