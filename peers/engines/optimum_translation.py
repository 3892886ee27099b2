"""Optimum's INT8 export of the same weights, as model_export.compare makes it, with its own `generate`."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from optimum.onnxruntime import ORTModelForSeq2SeqLM

from dynamic_batching.config import Settings
from dynamic_batching.models import Translator
from dynamic_batching.runtime.onnx_files import find_onnx_files
from model_export.compare import Limits, load_optimum, optimum_preset, optimum_translation
from model_export.torch_reference import greedy_generation
from peers.engines.dataset import Dataset, Timer
from peers.engines.generation import generate


class Engine:
    """One model on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.model: Any = load_optimum(ORTModelForSeq2SeqLM, converted)
        self.model.generation_config = greedy_generation(self.model.config)
        optimum, onnxruntime = version("optimum"), version("onnxruntime")
        self.version = f"optimum {optimum} ({optimum_preset()}), onnxruntime {onnxruntime}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return generate(self.model, dataset, settings["batch_size"], timer)


def convert(models: Path, output: Path) -> None:
    """Writes Optimum's INT8 export into `output`."""
    limits = Limits(Translator(find_onnx_files(models, "translation"), Settings(threads=1)))
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        optimum_translation(models / "translation" / "pytorch", Path(scratch), limits)
        (Path(scratch) / "int8").replace(output)
