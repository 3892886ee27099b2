"""The order of preparation: decide the source, keep what is whole, make the rest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from model_export.errors import PreparationError
from model_export.manifest import TASKS, Manifest

NAMED_SOURCES = ("hub", "embedded", "random")
Say = Callable[[str], None]


def prepare(source: str, folder: Path, *, force: bool, say: Say) -> Manifest:
    """Leaves every artefact of `source` whole in `folder`.

    Raises:
        PreparationError: the source is unknown or cannot be read; finished artefacts stay.
    """
    manifest = Manifest(folder)
    if source == "auto" and manifest.source in ("hub", "embedded") and not force:
        source = manifest.source
    if not force and manifest.source == recorded_name(source):
        damaged = [name for task in TASKS if not manifest.is_whole(name := f"{task}/pytorch")]
        if not damaged:
            say(f"{folder} is whole ({manifest.source}); nothing to do")
            return manifest

    # Only work needs torch and transformers, which take seconds to import.
    from model_export.pytorch import write_pytorch
    from model_export.sources import loader, resolve

    source, reason = resolve(source)
    say(reason)
    load = loader(source)
    if force or manifest.source != recorded_name(source):
        manifest.restart(recorded_name(source))
    for task in TASKS:
        name = f"{task}/pytorch"
        if manifest.is_whole(name):
            say(f"{name}: whole, kept")
            continue
        if name in manifest.artefacts:
            say(f"{name}: damaged since it was written, made again")
        say(f"{name}: loading and writing ...")
        try:
            write_pytorch(manifest, task, load(task))
        except KeyboardInterrupt:
            raise PreparationError(f"stopped while making {name}; the next run makes it") from None
    return manifest


def recorded_name(source: str) -> str:
    """What the manifest calls a source: a folder by its name and a digest of its path, not the path."""
    if source in (*NAMED_SOURCES, "auto"):
        return source
    path = Path(source).expanduser().resolve()
    return f"folder {path.name} ({hashlib.sha256(str(path).encode()).hexdigest()[:8]})"
