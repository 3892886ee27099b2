"""The order of preparation: decide the source, keep what is whole, make the rest."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from model_export.errors import PreparationError
from model_export.kernels import KernelChoice, choose_kernels
from model_export.manifest import TASKS, Manifest
from model_export.precision import is_unchecked
from model_export.sources import NAMED_SOURCES, load, resolve, source_sha256

Say = Callable[[str], None]


def prepare(
    source: str,
    folder: Path,
    *,
    force: bool,
    say: Say,
    kernels: KernelChoice = "auto",
    eval_data: Path | None = None,
    check_quality: bool = True,
) -> Manifest:
    """Leaves every artefact of `source` whole in `folder`, the INT8 models made for `kernels`.

    Raises:
        PreparationError: the source is unknown or cannot be read, the kernels cannot be had, or a model falls
            short of its original; finished artefacts stay.
    """
    if eval_data is not None and not check_quality:
        raise PreparationError("--eval-data is for the quality check, which --no-quality-check leaves out")
    manifest = Manifest(folder)
    if source == "auto":
        refuse_unchecked(manifest, force=force, check_quality=check_quality)
    if source == "auto" and manifest.source == "hub" and not force:
        source = "hub"
    resolved = resolve(source)
    say(resolved.line)
    source = resolved.source
    recorded = recorded_name(source)
    known = manifest.source == recorded
    digests = {task: source_sha256(source, task) for task in TASKS}
    originals = {task: manifest.artefacts.get(f"{task}/pytorch", {}) for task in TASKS}
    changed = {task: not known or originals[task].get("source_sha256") != digests[task] for task in TASKS}
    names = [f"{task}/{kind}" for task in TASKS for kind in ("pytorch", "onnx")]
    chosen = choose_kernels(kernels, folder, say)
    unchecked = check_quality and any(map(is_unchecked, manifest.artefacts.values()))
    as_asked = not (force or eval_data or unchecked or any(changed.values()))
    matching = as_asked and all(chosen.match(manifest.artefacts.get(f"{task}/onnx", {})) for task in TASKS)
    if matching and all(manifest.is_whole(name) for name in names):
        manifest.set_fallback(resolved.fallback)
        say(f"{folder} is whole ({manifest.source}); nothing to do")
        return manifest

    # Only work needs torch and transformers, which take seconds to import.
    from model_export.onnx_export import is_current, write_onnx
    from model_export.pretrained import load_folder
    from model_export.pytorch import write_pytorch
    from model_export.verify import LabelledData

    data = LabelledData(eval_data) if eval_data else None
    making = ""
    try:
        for task in TASKS:
            making = f"{task}/pytorch"
            if force or changed[task] or not manifest.is_whole(making):
                if known and making in manifest.artefacts and not force:
                    reason = "its source has changed" if changed[task] else "damaged"
                    say(f"{making}: {reason} since it was written, made again")
                say(f"{making}: loading and writing")
                pretrained = load(source, task, say)
                # Not before the new source has given something: what is there can be served until then.
                if manifest.source != recorded:
                    manifest.restart(recorded)
                write_pytorch(manifest, task, pretrained, digests[task])
            else:
                say(f"{making}: whole, kept")
            making = f"{task}/onnx"
            if force or not is_current(manifest, task, chosen, data, check_quality=check_quality):
                say(f"{making}: building the graphs")
                origin = manifest.artefacts[f"{task}/pytorch"]
                pretrained = load_folder(task, folder / task / "pytorch", origin["origin"])
                pretrained.trained = origin["trained"]
                write_onnx(manifest, task, pretrained, chosen, data, say, check_quality=check_quality)
            else:
                say(f"{making}: whole, kept")
    except KeyboardInterrupt:
        raise PreparationError(f"stopped while making {making}; the next run makes it") from None
    manifest.set_fallback(resolved.fallback)
    return manifest


def refuse_unchecked(manifest: Manifest, *, force: bool, check_quality: bool) -> None:
    """Has `auto` take no models of unchecked quality, neither new ones nor what lies in its folder.

    Raises:
        PreparationError: it would.
    """
    if not check_quality:
        raise PreparationError(
            "--no-quality-check needs a --source by name, such as a folder; auto checks what it takes"
        )
    if not force and any(map(is_unchecked, manifest.artefacts.values())):
        raise PreparationError(
            f"{manifest.folder} was prepared without a quality check ({manifest.source}), and --source auto "
            "takes no such models: give --source to keep or check that model, or --force to replace it"
        )


def recorded_name(source: str) -> str:
    """What the manifest calls a source: a folder by its name and a digest of its path, not the path."""
    if source in NAMED_SOURCES:
        return source
    path = Path(source).expanduser().resolve()
    return f"folder {path.name} ({hashlib.sha256(str(path).encode()).hexdigest()[:8]})"
