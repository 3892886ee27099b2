"""The ONNX INT8 artefact of a task: built, verified, and only then published."""

import shutil
import tempfile
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.web.model_files import ModelFiles
from model_export.graph_rewriter import layer_names
from model_export.greedy_quantize import SCREENED, quantize_for_kernels
from model_export.kernel_quantize import int8_weights
from model_export.kernels import Kernels
from model_export.manifest import Manifest, contents_sha256, entries_of
from model_export.marian_graphs import build_decoder_step, build_encoder
from model_export.mixed_precision import choose_float32_layers
from model_export.precision import format_figures, is_unchecked
from model_export.pretrained import Pretrained
from model_export.progress import PrintLine
from model_export.quality_checks import CHECKS
from model_export.row_quantize import quantize_rows, save_graphs
from model_export.screening import Screening, choose_screening
from model_export.sensitivity import layer_sensitivities
from model_export.sentiment_graph import build_sentiment
from model_export.torch_reference import decoder_states
from model_export.verify import Check, LabelledData

TOKENIZER_FILES = {
    "translation": ("source.spm", "target.spm", "vocab.json"),
    "sentiment": ("tokenizer.json", "config.json"),
}
COPIED = "task", "architecture", "origin", "trained", "parameters"
OF_TRANSLATION = "generation", "source_language", "target_language"

# Layers that a line on the terminal has room for.
NAMED_LAYERS = 3


def write_onnx(
    manifest: Manifest,
    task: str,
    pretrained: Pretrained,
    kernels: Kernels,
    data: LabelledData | None,
    print_line: PrintLine,
    *,
    check_quality: bool = True,
) -> None:
    """Publishes `<task>/onnx` for `kernels`, made from `<task>/pytorch`.

    Layers are kept in float32 where INT8 misses a quality bound. There are no bounds without `check_quality`,
    and none for random weights. The vocabulary is screened where that pays.
    Raises:
        VerificationFailed: the float32 graph misses its bound; an earlier artefact stays.
    """
    original = manifest.artefacts[f"{task}/pytorch"]
    facts: dict[str, Any] = {key: original[key] for key in (*COPIED, *OF_TRANSLATION) if key in original}
    facts |= {
        "made_from_sha256": contents_sha256(original),
        "quality_checked": check_quality and pretrained.trained,
    }
    source, name = manifest.folder / task / "pytorch", f"{task}/onnx"
    with manifest.publish(name, facts) as folder, tempfile.TemporaryDirectory() as scratch:
        graphs = build(task, pretrained)
        print_line(f"{name}: comparing the float32 graph with PyTorch")
        bounded = facts["quality_checked"]
        check = CHECKS[task](
            pretrained,
            # Not held in a variable: it takes as much memory as the models that follow.
            write_graphs(Path(scratch), graphs, Kernels(None), source, facts),
            data if bounded else None,
            bounded=bounded,
        )
        all_layers = layer_names(graphs)
        screening: Screening | None = None
        figures: dict[str, Any] = {}
        # Hidden states of random weights lie in one direction, and say nothing about those of any model.
        if pretrained.trained and task == "translation" and kernels.instructions is not None:
            print_line(f"{name}: choosing how the vocabulary is screened")
            screening, figures = screening_of(pretrained, check)

        def loss_ratio(float32_layers: list[str]) -> float:
            print_line(
                f"{name}: quantizing {len(all_layers) - len(float32_layers)} of {len(all_layers)} layers"
            )
            int8 = quantize(graphs, kernels, float32_layers, screening)
            served = write_graphs(folder, int8, kernels, source, facts)
            if not bounded:
                facts["verification"] = check.facts
                return 0.0
            print_line(f"{name}: comparing INT8 with float32")
            judgement = check.judge(served)
            facts["verification"] = check.facts | judgement.figures
            if judgement.loss_ratio > 1:
                print_line(f"{name}: misses the quality bound: {format_figures(judgement.figures)}")
            return judgement.loss_ratio

        def sensitivities() -> dict[str, float]:
            print_line(f"{name}: measuring how sensitive each layer is to INT8")
            answers = check.answers if task == "translation" else None
            int8_rows = partial(int8_weights, instructions=kernels.instructions)
            return layer_sensitivities(pretrained, all_layers, int8_rows, check.token_ids, answers)

        float32_layers = choose_float32_layers(loss_ratio, sensitivities)
        if float32_layers is None:
            write_graphs(folder, graphs, Kernels(None), source, facts)
            facts["verification"] = check.float32_figures
            facts |= {"format": "ONNX Runtime float32", **Kernels(None).facts}
            float32_layers = all_layers
        else:
            facts |= {"format": "ONNX Runtime INT8", **kernels.facts}
        if (folder / SCREENED).exists():
            facts["screening"] = figures
        facts["precision"] = {
            "int8": [layer for layer in all_layers if layer not in float32_layers],
            "float32": float32_layers,
        }
        if float32_layers:
            more = len(float32_layers) - NAMED_LAYERS
            rest = f" and {more} more (all in the manifest)" if more > 0 else ""
            print_line(f"{name}: in float32: {', '.join(float32_layers[:NAMED_LAYERS])}{rest}")


def write_graphs(
    folder: Path, graphs: dict[str, Any], kernels: Kernels, source: Path, facts: dict[str, Any]
) -> Translator | SentimentClassifier:
    """Replaces the contents of `folder` by the files that a server loads; returns the model loaded from them.

    The tokenizer is that of the PyTorch artefact in `source`; `facts` are those of the new artefact.
    """
    for path in folder.iterdir():
        path.unlink()
    save_graphs(graphs, folder)
    kernels.copy_to(folder)
    task = facts["task"]
    for name in TOKENIZER_FILES[task]:
        shutil.copy(source / name, folder)
    files = ModelFiles(f"{task}/onnx", folder, {**facts, **kernels.facts, "files": entries_of(folder)})
    settings = Settings(threads=1)
    if task == "sentiment":
        return SentimentClassifier(files, settings.max_input_tokens)
    return Translator(files, settings)


def screening_of(pretrained: Pretrained, check: Check) -> tuple[Screening | None, dict[str, Any]]:
    """The screening of a translation model's vocabulary, and its figures for the manifest."""
    model: Any = pretrained.model
    texts = check.token_ids, check.answers
    halves = (decoder_states(pretrained, *(part[start::2] for part in texts)) for start in (0, 1))
    weights = model.lm_head.weight.detach(), model.final_logits_bias[0]
    return choose_screening(*(tensor.numpy() for tensor in (*halves, *weights)))


def quantize(
    graphs: dict[str, Any],
    kernels: Kernels,
    float32_layers: Collection[str] = (),
    screening: Screening | None = None,
) -> dict[str, Any]:
    """The INT8 form of float32 graphs by file name, for `kernels`; `float32_layers` stay in float32."""
    if kernels.instructions is None:
        return quantize_rows(graphs, float32_layers)
    return quantize_for_kernels(graphs, kernels.instructions, float32_layers, screening)


def build(task: str, pretrained: Pretrained) -> dict[str, Any]:
    """The task's float32 graphs by file name."""
    model: Any = pretrained.model
    if task == "sentiment":
        return {"model.onnx": build_sentiment(model)}
    return {"encoder.onnx": build_encoder(model), "decoder.onnx": build_decoder_step(model)}


def is_current(
    manifest: Manifest, task: str, kernels: Kernels, data: LabelledData | None, *, check_quality: bool
) -> bool:
    """Whether `<task>/onnx` is intact, made from `<task>/pytorch` for `kernels`, and verified as needed."""
    artefact = manifest.artefacts.get(f"{task}/onnx")
    original = manifest.artefacts.get(f"{task}/pytorch")
    if artefact is None or original is None or not manifest.is_intact(f"{task}/onnx"):
        return False
    if artefact["made_from_sha256"] != contents_sha256(original):
        return False
    if not kernels.match(artefact) or (check_quality and is_unchecked(artefact)):
        return False
    labelled = {"bleu_float32", "accuracy_float32"} & artefact["verification"].keys()
    return data is None or bool(labelled) or not artefact["trained"]
