"""The order of preparation: decide the source, keep what is whole, make the rest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from model_export.errors import PreparationError
from model_export.kernels import KernelChoice, choose_kernels
from model_export.manifest import TASKS, Manifest

NAMED_SOURCES = ("hub", "embedded", "random")
Say = Callable[[str], None]


def prepare(
    source: str,
    folder: Path,
    *,
    force: bool,
    say: Say,
    kernels: KernelChoice = "auto",
    eval_data: Path | None = None,
) -> Manifest:
    """Leaves every artefact of `source` whole in `folder`, the INT8 models made for `kernels`.

    Raises:
        PreparationError: the source is unknown or cannot be read, the kernels cannot be had, or a model falls
            short of its original; finished artefacts stay.
    """
    manifest = Manifest(folder)
    if source == "auto" and manifest.source in ("hub", "embedded") and not force:
        source = manifest.source
    names = [f"{task}/{kind}" for task in TASKS for kind in ("pytorch", "onnx")]
    known = not force and eval_data is None and manifest.source == recorded_name(source)
    chosen = choose_kernels(kernels, say)
    matching = known and all(chosen.match(manifest.artefacts.get(f"{task}/onnx", {})) for task in TASKS)
    if matching and all(manifest.is_whole(name) for name in names):
        say(f"{folder} is whole ({manifest.source}); nothing to do")
        return manifest

    # Only work needs torch and transformers, which take seconds to import.
    from model_export.onnx_export import is_current, write_onnx
    from model_export.pretrained import load_folder
    from model_export.pytorch import write_pytorch
    from model_export.sources import loader, resolve
    from model_export.verify import LabelledData

    source, reason = resolve(source)
    say(reason)
    load = loader(source)
    data = LabelledData(eval_data) if eval_data else None
    if manifest.source != recorded_name(source):
        manifest.restart(recorded_name(source))
    making = ""
    try:
        for task in TASKS:
            making = f"{task}/pytorch"
            if force or not manifest.is_whole(making):
                if making in manifest.artefacts and not force:
                    say(f"{making}: damaged since it was written, made again")
                say(f"{making}: loading and writing")
                write_pytorch(manifest, task, load(task))
            else:
                say(f"{making}: whole, kept")
            making = f"{task}/onnx"
            if force or not is_current(manifest, task, chosen, data):
                say(f"{making}: building the graphs")
                origin = manifest.artefacts[f"{task}/pytorch"]
                pretrained = load_folder(task, folder / task / "pytorch", origin["origin"])
                pretrained.trained = origin["trained"]
                write_onnx(manifest, task, pretrained, chosen, data, say)
            else:
                say(f"{making}: whole, kept")
    except KeyboardInterrupt:
        raise PreparationError(f"stopped while making {making}; the next run makes it") from None
    return manifest


def recorded_name(source: str) -> str:
    """What the manifest calls a source: a folder by its name and a digest of its path, not the path."""
    if source in (*NAMED_SOURCES, "auto"):
        return source
    path = Path(source).expanduser().resolve()
    return f"folder {path.name} ({hashlib.sha256(str(path).encode()).hexdigest()[:8]})"
