"""The ONNX INT8 artefact of a task, as the ONNX servers load it: built, verified, and only then published."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.web.model_files import ModelFiles
from model_export.kernel_quantize import quantize_for_kernels
from model_export.kernels import Kernels
from model_export.manifest import Manifest, contents_sha256, entries_of
from model_export.marian_graphs import build_decoder_step, build_encoder
from model_export.pretrained import Pretrained
from model_export.row_quantize import quantize_rows, save_graphs
from model_export.sentiment_graph import build_sentiment
from model_export.verify import LabelledData, verify_sentiment, verify_translation

TOKENIZER_FILES = {
    "translation": ("source.spm", "target.spm", "vocab.json"),
    "sentiment": ("tokenizer.json", "config.json"),
}
COPIED = "task", "architecture", "origin", "trained", "parameters"

Say = Callable[[str], None]


def write_onnx(
    manifest: Manifest,
    task: str,
    pretrained: Pretrained,
    kernels: Kernels,
    data: LabelledData | None,
    say: Say,
) -> None:
    """Publishes `<task>/onnx` for `kernels`, made from the PyTorch artefact that lies beside it.

    Raises:
        VerificationFailed: the INT8 model falls short; the artefact that was there before stays.
    """
    original = manifest.artefacts[f"{task}/pytorch"]
    facts: dict[str, Any] = {
        key: original[key] for key in (*COPIED, "generation", "source_language") if key in original
    }
    facts |= {
        "format": "ONNX Runtime INT8",
        "made_from_sha256": contents_sha256(original),
        **kernels.facts,
    }
    source = manifest.folder / task / "pytorch"
    with manifest.publish(f"{task}/onnx", facts) as folder:
        graphs = build(task, pretrained)
        say(f"{task}/onnx: quantizing")
        save_graphs(quantize(graphs, kernels), folder)
        kernels.copy_to(folder)
        for name in TOKENIZER_FILES[task]:
            shutil.copy(source / name, folder)
        say(f"{task}/onnx: verifying against PyTorch float32")
        files = ModelFiles(f"{task}/onnx", folder, {**facts, "files": entries_of(folder)})
        settings = Settings(threads=1)
        if task == "sentiment":
            served = SentimentClassifier(files, settings.max_input_tokens)
            facts["verification"] = verify_sentiment(pretrained, served, data)
        else:
            with tempfile.TemporaryDirectory() as float32:
                save_graphs(graphs, Path(float32))
                facts["verification"] = verify_translation(
                    pretrained, Translator(files, settings), Graphs.load(Path(float32)), data
                )


def quantize(graphs: dict[str, Any], kernels: Kernels) -> dict[str, Any]:
    """The INT8 form of float32 graphs by file name, for `kernels`."""
    if kernels.native is None:
        return quantize_rows(graphs)
    return quantize_for_kernels(graphs, kernels.native.instructions)


def build(task: str, pretrained: Pretrained) -> dict[str, Any]:
    """The task's float32 graphs by file name."""
    model: Any = pretrained.model
    if task == "sentiment":
        return {"model.onnx": build_sentiment(model)}
    return {"encoder.onnx": build_encoder(model), "decoder.onnx": build_decoder_step(model)}


def is_current(manifest: Manifest, task: str, kernels: Kernels, data: LabelledData | None) -> bool:
    """Whether `<task>/onnx` is whole, made for `kernels` of what lies beside it, and verified as asked."""
    artefact = manifest.artefacts.get(f"{task}/onnx")
    original = manifest.artefacts.get(f"{task}/pytorch")
    if artefact is None or original is None or not manifest.is_whole(f"{task}/onnx"):
        return False
    if artefact["made_from_sha256"] != contents_sha256(original):
        return False
    if not kernels.match(artefact):
        return False
    labelled = {"bleu_int8", "accuracy_int8"} & artefact["verification"].keys()
    return data is None or bool(labelled) or not artefact["trained"]
