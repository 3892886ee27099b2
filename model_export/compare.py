"""Compares the INT8 models with PyTorch, ONNX float32 and Optimum's INT8: bytes, load time, latency, answers.

Everything runs on one thread, on the same texts, with the same limits. A latency is the median of several
runs of one batch; for translation it includes the encoder and every decoding step.
"""

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import (
    ORTModelForSeq2SeqLM,
    ORTModelForSequenceClassification,
    ORTQuantizer,
)
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from dynamic_batching.config import Settings
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.graphs import Graphs, load_session
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.runtime.onnx_files import cpu_flags, find_onnx_files
from locustfiles.inputs import unique
from model_export.engine_figures import BATCHES, Run, Tokens, measure, size, timed
from model_export.graph_builder import OPSET
from model_export.marian_graphs import build_decoder_step, build_encoder
from model_export.pretrained import Pretrained, load_folder
from model_export.progress import PrintLine
from model_export.row_quantize import save_graphs
from model_export.torch_reference import torch_translate

QUALITY_TEXTS = 64

logging.getLogger("optimum").setLevel(logging.ERROR)


def compare(task: str, models: Path, print_line: PrintLine) -> list[dict[str, Any]]:
    """Figures of PyTorch, ONNX float32, Optimum's INT8 and ours, from the artefacts in `models`."""
    torch.set_num_threads(1)
    folder = models / task / "pytorch"
    samples = [sample.text for sample in islice(unique(task, part="warmup"), QUALITY_TEXTS)]
    files = find_onnx_files(models, task)
    pretrained, torch_load_s = timed(lambda: load_folder(task, folder, ""))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engines: list[tuple[str, int, float, Run]] = []
        settings = Settings(threads=1)
        if task == "translation":
            served, load_s = timed(lambda: Translator(files, settings))
            limits = Limits(served)
            engines.append(("PyTorch float32", size(folder), torch_load_s, limits.of_torch(pretrained)))
            engines.append(("ONNX float32", *float32_translation(pretrained, Path(scratch) / "f", limits)))
            print_line("  exporting and quantizing with Optimum")
            engines.append(("Optimum INT8", *optimum_translation(folder, Path(scratch) / "o", limits)))
            engines.append(("ours, INT8", size(files.folder), load_s, limits.of_decoder(served.graphs)))
            decode: Callable[[Any], str] = served.tokenizer.decode
            tokens = [served.tokenize(text) for text in samples]
        else:
            classifier, load_s = timed(lambda: SentimentClassifier(files, settings.max_input_tokens))
            engines.append(("PyTorch float32", size(folder), torch_load_s, labels_of_torch(pretrained)))
            engines.append(("ONNX float32", *float32_sentiment(folder, Path(scratch) / "f", classifier)))
            print_line("  exporting and quantizing with Optimum")
            engines.append(("Optimum INT8", *optimum_sentiment(folder, Path(scratch) / "o", classifier)))
            ours = lambda batch: [answer.label for answer in classifier.classify(batch)]  # noqa: E731
            engines.append(("ours, INT8", size(files.folder), load_s, ours))
            decode = str
            tokens = [classifier.tokenize(text) for text in samples]
        return [asdict(row) for row in measure(task, engines, tokens, decode, print_line)]


class Limits:
    """The generation limits of the served model, the same for every engine."""

    def __init__(self, served: Translator) -> None:
        self.served = served
        self.fixed = bool(served.limits["fixed_length"])

    def of(self, batch: Tokens) -> list[int]:
        return [self.served.new_tokens(len(ids))[0] for ids in batch]

    def of_torch(self, pretrained: Pretrained) -> Run:
        return lambda batch: torch_translate(pretrained, batch, self.of(batch), fixed_length=self.fixed)

    def of_decoder(self, graphs: Graphs) -> Run:
        decoder = SlotDecoder(graphs, max(BATCHES))
        return lambda batch: decode_batch(decoder, [self.served.sequence(ids) for ids in batch])


def float32_translation(pretrained: Pretrained, folder: Path, limits: Limits) -> tuple[int, float, Run]:
    model: Any = pretrained.model
    save_graphs({"encoder.onnx": build_encoder(model), "decoder.onnx": build_decoder_step(model)}, folder)
    graphs, load_s = timed(lambda: Graphs.load(folder))
    return size(folder), load_s, limits.of_decoder(graphs)


def optimum_translation(folder: Path, output: Path, limits: Limits) -> tuple[int, float, Run]:
    ORTModelForSeq2SeqLM.from_pretrained(folder, export=True).save_pretrained(output / "float32")
    quantized = output / "int8"
    for name in ("encoder_model", "decoder_model", "decoder_with_past_model"):
        if (output / "float32" / f"{name}.onnx").is_file():
            quantize_with_optimum(output / "float32", quantized, f"{name}.onnx")
    model, load_s = timed(lambda: load_optimum(ORTModelForSeq2SeqLM, quantized))
    wrapped = Pretrained(model, None, "")  # type: ignore[arg-type]
    return size(quantized), load_s, limits.of_torch(wrapped)


def export_sentiment(folder: Path, output: Path) -> None:
    """Writes a classifier's float32 ONNX export into `output`."""
    main_export(
        str(folder),
        output=output,
        task="text-classification",
        opset=OPSET,
        do_validation=False,
        no_post_process=True,
        local_files_only=True,
    )


def float32_sentiment(folder: Path, output: Path, served: SentimentClassifier) -> tuple[int, float, Run]:
    export_sentiment(folder, output)
    session, load_s = timed(lambda: load_session(output / "model.onnx"))
    names = {node.name for node in session.get_inputs()}

    def run(batch: Tokens) -> list[Any]:
        feed = {name: value for name, value in padded(batch).items() if name in names}
        return [served.labels[index] for index in session.run(["logits"], feed)[0].argmax(axis=1)]

    return size(output), load_s, run


def optimum_sentiment(folder: Path, output: Path, served: SentimentClassifier) -> tuple[int, float, Run]:
    ORTModelForSequenceClassification.from_pretrained(folder, export=True).save_pretrained(output / "float32")
    quantize_with_optimum(output / "float32", output / "int8", "model.onnx")
    model, load_s = timed(lambda: load_optimum(ORTModelForSequenceClassification, output / "int8"))

    def run(batch: Tokens) -> list[Any]:
        logits = model(**{name: torch.from_numpy(value) for name, value in padded(batch).items()}).logits
        return [served.labels[index] for index in logits.argmax(-1).tolist()]

    return size(output / "int8"), load_s, run


def quantize_with_optimum(folder: Path, output: Path, name: str) -> None:
    settings = getattr(AutoQuantizationConfig, optimum_preset())(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(folder, file_name=name).quantize(
        save_dir=output, quantization_config=settings, file_suffix=""
    )


def optimum_preset() -> str:
    """Optimum's preset for this CPU: without VNNI, sums of signed weights would saturate."""
    return "avx512_vnni" if "avx512_vnni" in cpu_flags() else "avx2"


def load_optimum(kind: Any, folder: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return kind.from_pretrained(folder, session_options=options)


def labels_of_torch(pretrained: Pretrained) -> Run:
    names: dict[int, str] = pretrained.model.config.id2label or {}

    def run(batch: Tokens) -> list[Any]:
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(value) for name, value in padded(batch).items()}
            inputs.pop("token_type_ids")
            return [names[index] for index in pretrained.model(**inputs).logits.argmax(-1).tolist()]

    return run


def padded(batch: Tokens) -> dict[str, np.ndarray]:
    lengths = np.array([len(ids) for ids in batch])
    input_ids = np.zeros((len(batch), lengths.max()), np.int64)
    for row, ids in enumerate(batch):
        input_ids[row, : len(ids)] = ids
    mask = (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": np.zeros_like(input_ids)}
