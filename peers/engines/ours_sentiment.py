"""Our INT8 graph as dynamic_batching runs it, on packed batches."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynamic_batching.config import Settings
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.runtime.onnx_files import find_onnx_files
from peers.engines.dataset import Dataset, Timer


class Engine:
    """A classifier on the calling thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        files = find_onnx_files(models, "sentiment")
        self.classifier = SentimentClassifier(files, Settings(threads=1).max_input_tokens)
        self.version = f"onnxruntime {version('onnxruntime')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        batches = dataset.batches_of_tokens(settings["max_batch_tokens"])
        token_ids = [[dataset.sources[index] for index in batch] for batch in batches]
        with timer:
            results = [self.classifier.classify(batch) for batch in token_ids]
        labels = self.classifier.labels
        return dataset.answers(batches, [[[labels.index(one.label)] for one in batch] for batch in results])
