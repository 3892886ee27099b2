"""OpenVINO with the same float32 weights, quantized by NNCF: INT8 weights and activations, calibrated."""

import tempfile
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from peers.engines.classification import Inputs, classify, padded
from peers.engines.dataset import Dataset, Timer

CALIBRATION_TEXTS = 300  # NNCF's default


class Engine:
    """A compiled model on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        options = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        self.model = openvino.Core().compile_model(converted / "model.xml", "CPU", options)
        self.names = input_names(self.model)
        self.version = f"openvino {version('openvino')}, nncf {version('nncf')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        return classify(dataset, settings["batch_size"], self.logits, timer)

    def logits(self, inputs: Inputs) -> np.ndarray:
        return self.model({name: value for name, value in inputs.items() if name in self.names})["logits"]


def input_names(model: Any) -> set[str]:
    return {name for port in model.inputs for name in port.names}


def convert(models: Path, output: Path) -> None:
    """Writes the quantized model into `output`."""
    # Only a conversion needs PyTorch, Optimum and NNCF, which take seconds to load.
    import nncf

    from dynamic_batching.runtime.tokenization import BertTokenizer
    from locustfiles.inputs import unique
    from model_export.compare import export_sentiment

    tokenizer = BertTokenizer(models / "sentiment" / "onnx")
    texts = [sample.text for sample in islice(unique("sentiment", part="warmup"), CALIBRATION_TEXTS)]
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        export_sentiment(models / "sentiment" / "pytorch", Path(scratch))
        model = openvino.Core().read_model(Path(scratch) / "model.onnx")
        names = input_names(model)
        calibration = nncf.Dataset(
            [
                {name: value for name, value in padded([tokenizer.encode(text)]).items() if name in names}
                for text in texts
            ]
        )
        quantized = nncf.quantize(
            model, calibration, subset_size=len(texts), model_type=nncf.ModelType.TRANSFORMER
        )
        openvino.save_model(quantized, output / "model.xml", compress_to_fp16=False)
