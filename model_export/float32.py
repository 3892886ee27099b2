"""The float32 graphs as a models folder of their own, to measure what INT8 alone gains.

`<models>-float32/` holds `<task>/onnx` of both tasks, made from the PyTorch artefacts of `<models>/`.
"""

from pathlib import Path
from typing import Any

from model_export.kernels import Kernels
from model_export.manifest import TASKS, Manifest, contents_sha256, float32_folder
from model_export.onnx_export import COPIED, OF_TRANSLATION, build, write_graphs
from model_export.pretrained import load_folder
from model_export.progress import PrintLine
from model_export.quality_checks import CHECKS


def prepare_float32(models: Manifest, print_line: PrintLine) -> Manifest:
    """Prepares both tasks' float32 graphs next to `models`; those that are up to date are kept.

    Raises:
        VerificationFailed: a graph does not give PyTorch's answers; artefacts already published stay.
    """
    manifest = Manifest(float32_folder(models.folder))
    if manifest.source != models.source:
        manifest.restart(str(models.source))
    for task in TASKS:
        original = models.artefacts[f"{task}/pytorch"]
        digest = contents_sha256(original)
        name = f"{task}/onnx"
        if manifest.is_intact(name) and manifest.artefacts[name]["made_from_sha256"] == digest:
            print_line(f"{manifest.folder}/{name}: up to date, kept")
            continue
        print_line(f"{manifest.folder}/{name}: building the float32 graphs")
        write_float32(manifest, task, models.folder / task / "pytorch", original)
    return manifest


def write_float32(manifest: Manifest, task: str, source: Path, original: dict[str, Any]) -> None:
    """Publishes `<task>/onnx` from the PyTorch artefact in `source`, which `original` describes."""
    pretrained = load_folder(task, source, original["origin"])
    pretrained.trained = original["trained"]
    facts: dict[str, Any] = {key: original[key] for key in (*COPIED, *OF_TRANSLATION) if key in original}
    facts |= {
        "format": "ONNX Runtime float32",
        "made_from_sha256": contents_sha256(original),
    }
    with manifest.publish(f"{task}/onnx", facts) as folder:
        served = write_graphs(folder, build(task, pretrained), Kernels(None), source, facts)
        facts["verification"] = CHECKS[task](pretrained, served, bounded=False).facts
