"""Optimum's INT8 export of the same weights in its own model class."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optimum.onnxruntime import ORTModelForSequenceClassification

from model_export.compare import load_optimum, optimum_preset, quantize_with_optimum
from peers.engines.classification import Inputs, classify
from peers.engines.dataset import Dataset, Timer


class Engine:
    """One model on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.model: Any = load_optimum(ORTModelForSequenceClassification, converted)
        optimum, onnxruntime = version("optimum"), version("onnxruntime")
        self.version = f"optimum {optimum} ({optimum_preset()}), onnxruntime {onnxruntime}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return classify(dataset, settings["batch_size"], self.logits, timer)

    def logits(self, inputs: Inputs) -> np.ndarray:
        return self.model(**{name: torch.from_numpy(value) for name, value in inputs.items()}).logits.numpy()


def convert(models: Path, output: Path) -> None:
    """Writes Optimum's INT8 export into `output`."""
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        folder = models / "sentiment" / "pytorch"
        ORTModelForSequenceClassification.from_pretrained(folder, export=True).save_pretrained(scratch)
        quantize_with_optimum(Path(scratch), output, "model.onnx")
