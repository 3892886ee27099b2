"""models/manifest.json: what each prepared artefact is, and the sha256 of every file in it.

An artefact is written to a temporary folder, renamed when complete, and only then listed here, so everything
in the manifest was finished; `is_intact` detects later damage.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynamic_batching.web.model_files import ModelFiles, ModelFilesError

# The servers check the same number; it changes with the inputs and outputs of the graphs.
FORMAT = 6
TASKS = ("translation", "sentiment")


class Manifest:
    """The artefacts of one models folder, by name (`translation/pytorch`, ...)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "manifest.json"
        self.content: dict[str, Any] = {"format": FORMAT, "source": None, "artefacts": {}}
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.path.read_text())
            if isinstance(content, dict) and content.get("format") == FORMAT:
                self.content |= content

    @property
    def source(self) -> str | None:
        return self.content["source"]

    @property
    def artefacts(self) -> dict[str, dict[str, Any]]:
        return self.content["artefacts"]

    def set_fallback(self, reason: str | None) -> None:
        """Records in every artefact why it is not the hub's; None: it was chosen.

        An earlier reason stays.
        """
        wrong = [one for one in self.artefacts.values() if ("fallback" in one) != (reason is not None)]
        for artefact in wrong:
            artefact.pop("fallback", None)
            if reason is not None:
                artefact["fallback"] = reason
        if wrong:
            self._write()

    @property
    def fallback(self) -> str | None:
        """Why the hub could not be used, where `auto` took the embedded models instead."""
        return next((artefact.get("fallback") for artefact in self.artefacts.values()), None)

    def restart(self, source: str) -> None:
        """Removes every artefact from the manifest; those that follow come from `source`."""
        self.content = {"format": FORMAT, "source": source, "artefacts": {}}
        self._write()

    def is_intact(self, name: str) -> bool:
        """Whether the servers would load the artefact: all its files unchanged, and no others.

        Raises:
            PermissionError: this user may not read it.
        """
        if name not in self.artefacts:
            return False
        try:
            ModelFiles(name, self.folder / name, self.artefacts[name]).verify()
        except ModelFilesError as error:
            if isinstance(error.__cause__, PermissionError):
                raise error.__cause__ from None
            return False
        return True

    @contextlib.contextmanager
    def publish(self, name: str, facts: dict[str, Any]) -> Iterator[Path]:
        """An empty folder to write the artefact into; published on a clean exit, else discarded.

        `facts` may be changed until the block ends; sizes and digests are added here.
        """
        unfinished = self.folder / f".{name.replace('/', '-')}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            yield unfinished
            follow_umask(unfinished)
            files = entries_of(unfinished)
            self.artefacts.pop(name, None)
            self._write()
            place = self.folder / name
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(parents=True, exist_ok=True)
            unfinished.replace(place)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        self.artefacts[name] = {
            **facts,
            "bytes": sum(entry["bytes"] for entry in files.values()),
            "files": files,
        }
        self._write()

    def annotate(self, name: str, key: str, value: Any) -> None:
        """Adds a fact to an artefact that is already published."""
        self.artefacts[name][key] = value
        self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(".manifest.json.unfinished")
        unfinished.write_text(json.dumps(self.content, indent=2) + "\n")
        unfinished.replace(self.path)


def entries_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The size and digest of every file of an artefact's folder, as listed in the manifest.

    Hidden files are left out: a desktop may add or change them at any time.
    """
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def contents_sha256(artefact: dict[str, Any]) -> str:
    """A digest of all files of an artefact, tokenizers and configuration included."""
    return hashlib.sha256(json.dumps(artefact["files"], sort_keys=True).encode()).hexdigest()


def follow_umask(folder: Path) -> None:
    """Applies the umask to every file below `folder`: libraries create some for their owner only."""
    umask = os.umask(0o022)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def float32_folder(models: Path) -> Path:
    """The folder of the float32 graphs of `models`, next to it."""
    return models.with_name(f"{models.name}-float32")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
