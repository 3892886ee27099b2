"""models/manifest.json: what each prepared artefact is, and the sha256 of every file in it.

An artefact is written beside its place, renamed into it when whole, and only then entered here, so whatever
the manifest names was finished; `is_whole` finds what was damaged afterwards.
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

# The servers read the same number: a change in what the graphs take or give is a change of it.
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
        """Says of every artefact why it is not the hub's, as records keep them one by one; None: by choice.

        A reason that is there already stays.
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
        """What kept the hub from being the source, where `auto` took the embedded models instead."""
        return next((artefact.get("fallback") for artefact in self.artefacts.values()), None)

    def restart(self, source: str) -> None:
        """Forgets every artefact: what follows comes from `source`."""
        self.content = {"format": FORMAT, "source": source, "artefacts": {}}
        self._write()

    def is_whole(self, name: str) -> bool:
        """Whether the servers would load the artefact: its files, as they were written, and no others.

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
        """An empty folder to write the artefact into; whole on a clean exit, or as if never begun.

        `facts` may be filled until the block ends; bytes and digests are added here.
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
        """Adds a fact that was found out after the artefact was published."""
        self.artefacts[name][key] = value
        self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(".manifest.json.unfinished")
        unfinished.write_text(json.dumps(self.content, indent=2) + "\n")
        unfinished.replace(self.path)


def entries_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The size and digest of every file of an artefact's folder, as the manifest holds them.

    Not of hidden ones: a desktop may put them there at any moment, and change them.
    """
    return {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def contents_sha256(artefact: dict[str, Any]) -> str:
    """A digest of all files of an artefact: what is made from it depends on more than its weights."""
    return hashlib.sha256(json.dumps(artefact["files"], sort_keys=True).encode()).hexdigest()


def follow_umask(folder: Path) -> None:
    """Gives every file below `folder` the mode of a new one: libraries write some for their user alone."""
    umask = os.umask(0o022)
    os.umask(umask)
    for path in folder.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def float32_folder(models: Path) -> Path:
    """Where the float32 graphs of `models` lie: beside it."""
    return models.with_name(f"{models.name}-float32")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
