"""The order of preparation: resolve the source, keep what is up to date, prepare the rest."""

import hashlib
import json
from pathlib import Path

from model_export.errors import PreparationError
from model_export.kernels import KernelChoice, choose_kernels
from model_export.manifest import TASKS, Manifest
from model_export.precision import is_unchecked
from model_export.progress import PrintLine
from model_export.sources import NAMED_SOURCES, load, resolve, source_sha256


def prepare(
    source: str,
    folder: Path,
    *,
    force: bool,
    print_line: PrintLine,
    kernels: KernelChoice = "auto",
    eval_data: Path | None = None,
    check_quality: bool = True,
) -> Manifest:
    """Prepares every artefact of `source` in `folder`, the INT8 models for `kernels`.

    Raises:
        PreparationError: the source is unknown or cannot be read, the kernels are not available, or a model
            misses its quality bound; artefacts already published stay.
    """
    if eval_data is not None and not check_quality:
        raise PreparationError("--eval-data is part of the quality check, which --no-quality-check skips")
    manifest = Manifest(folder)
    if source == "auto":
        refuse_unchecked(manifest, force=force, check_quality=check_quality)
    if source == "auto" and manifest.source == "hub" and not force:
        source = "hub"
    resolved = resolve(source)
    print_line(resolved.line)
    source = resolved.source
    recorded = recorded_name(source)
    known = manifest.source == recorded
    digests = {task: source_sha256(source, task) for task in TASKS}
    originals = {task: manifest.artefacts.get(f"{task}/pytorch", {}) for task in TASKS}
    changed = {task: not known or originals[task].get("source_sha256") != digests[task] for task in TASKS}
    names = [f"{task}/{kind}" for task in TASKS for kind in ("pytorch", "onnx")]
    chosen = choose_kernels(kernels, folder, print_line)
    unchecked = check_quality and any(map(is_unchecked, manifest.artefacts.values()))
    as_asked = not (force or eval_data or unchecked or any(changed.values()))
    matching = as_asked and all(chosen.match(manifest.artefacts.get(f"{task}/onnx", {})) for task in TASKS)
    if matching and all(manifest.is_intact(name) for name in names):
        manifest.set_fallback(resolved.fallback)
        add_target_language(manifest)
        print_line(f"{folder} is up to date ({manifest.source}); nothing to do")
        return manifest

    # torch and transformers take seconds to import, so only where there is work to do.
    from model_export.onnx_export import is_current, write_onnx
    from model_export.pretrained import load_folder
    from model_export.pytorch import write_pytorch
    from model_export.verify import LabelledData

    data = LabelledData(eval_data) if eval_data else None
    making = ""
    try:
        for task in TASKS:
            making = f"{task}/pytorch"
            if force or changed[task] or not manifest.is_intact(making):
                if known and making in manifest.artefacts and not force:
                    reason = "the source has changed" if changed[task] else "damaged"
                    print_line(f"{making}: {reason}, preparing it again")
                print_line(f"{making}: loading and writing")
                pretrained = load(source, task, print_line)
                # Only once the new source has loaded: until then the previous models can be served.
                if manifest.source != recorded:
                    manifest.restart(recorded)
                write_pytorch(manifest, task, pretrained, digests[task])
            else:
                print_line(f"{making}: up to date, kept")
            making = f"{task}/onnx"
            if force or not is_current(manifest, task, chosen, data, check_quality=check_quality):
                print_line(f"{making}: building the graphs")
                origin = manifest.artefacts[f"{task}/pytorch"]
                pretrained = load_folder(task, folder / task / "pytorch", origin["origin"])
                pretrained.trained = origin["trained"]
                write_onnx(manifest, task, pretrained, chosen, data, print_line, check_quality=check_quality)
            else:
                print_line(f"{making}: up to date, kept")
    except KeyboardInterrupt:
        raise PreparationError(f"interrupted while preparing {making}; the next run resumes there") from None
    manifest.set_fallback(resolved.fallback)
    add_target_language(manifest)
    return manifest


def add_target_language(manifest: Manifest) -> None:
    """Records it in artefacts from before manifests had it, as their tokenizer says."""
    config = json.loads((manifest.folder / "translation/pytorch/tokenizer_config.json").read_text())
    for name in ("translation/pytorch", "translation/onnx"):
        if "target_language" not in manifest.artefacts[name] and config.get("target_lang"):
            manifest.annotate(name, "target_language", config["target_lang"])


def refuse_unchecked(manifest: Manifest, *, force: bool, check_quality: bool) -> None:
    """Raises PreparationError where `auto` would use models of unchecked quality, new or already prepared."""
    if not check_quality:
        raise PreparationError(
            "--no-quality-check needs a --source by name, such as a folder; auto always checks"
        )
    if not force and any(map(is_unchecked, manifest.artefacts.values())):
        raise PreparationError(
            f"{manifest.folder} was prepared without a quality check ({manifest.source}), and --source auto "
            "refuses such models: give --source to keep or check that model, or --force to replace it"
        )


def recorded_name(source: str) -> str:
    """The source in the manifest: a folder by its name and a digest of its path, not the path itself."""
    if source in NAMED_SOURCES:
        return source
    path = Path(source).expanduser().resolve()
    return f"folder {path.name} ({hashlib.sha256(str(path).encode()).hexdigest()[:8]})"
