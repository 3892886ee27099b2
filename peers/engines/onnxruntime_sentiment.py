"""ONNX Runtime as its users run it: a float32 export, quantized dynamically, in a plain session."""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from peers.engines.classification import Inputs, classify
from peers.engines.dataset import Dataset, Timer


class Engine:
    """A session on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(converted / "model.onnx", options)
        self.names = {node.name for node in self.session.get_inputs()}
        self.version = f"onnxruntime {version('onnxruntime')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return classify(dataset, settings["batch_size"], self.logits, timer)

    def logits(self, inputs: Inputs) -> np.ndarray:
        feed = {name: value for name, value in inputs.items() if name in self.names}
        return self.session.run(["logits"], feed)[0]


def convert(models: Path, output: Path) -> None:
    """Writes the quantized export into `output`."""
    # Only a conversion needs PyTorch and Optimum, which take seconds to load.
    from model_export.compare import export_sentiment, quantize_with_optimum

    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        export_sentiment(models / "sentiment" / "pytorch", Path(scratch))
        quantize_with_optimum(Path(scratch), output, "model.onnx")
