"""The order of preparation: decide the source, keep what is whole, make the rest."""

from collections.abc import Callable
from pathlib import Path

from model_export.errors import PreparationError
from model_export.manifest import Manifest
from model_export.pretrained import TASKS
from model_export.pytorch import write_pytorch
from model_export.sources import loader, resolve

Say = Callable[[str], None]


def prepare(source: str, folder: Path, *, force: bool, say: Say) -> Manifest:
    """Leaves every artefact of `source` whole in `folder`.

    Raises:
        PreparationError: the source is unknown or cannot be read; finished artefacts stay.
    """
    manifest = Manifest(folder)
    if source == "auto" and manifest.source in ("hub", "embedded") and not force:
        source = manifest.source
    source, reason = resolve(source)
    say(reason)
    load = loader(source)
    if force or manifest.source != source:
        manifest.restart(source)
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
