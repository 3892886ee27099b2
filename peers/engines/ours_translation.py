"""Our INT8 graphs as dynamic_batching runs them, with continuous batching."""

from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.runtime.onnx_files import find_onnx_files, kernel_library
from dynamic_batching.sequence import Sequence
from peers.engines.dataset import Dataset, Timer


class Engine:
    """A decoder on the calling thread with a full queue: in order of arrival, or the longest texts first."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        files = find_onnx_files(models, "translation")
        files.verify()
        graphs = Graphs.load(files.folder, kernel_library(files), screening=True)
        self.decoder = cache(partial(SlotDecoder, graphs))
        self.version = f"onnxruntime {version('onnxruntime')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        decoder = self.decoder(settings["slots"])
        sequences = [
            Sequence(source, limit, limit if dataset.fixed_length else 0)
            for source, limit in zip(dataset.sources, dataset.max_new_tokens, strict=True)
        ]
        longest_first = [sequences[index] for index in dataset.longest_first()]
        queue = longest_first if settings["order"] == "length" else sequences
        with timer:
            answers = decode(decoder, queue, settings["prefill_batch"])
        return [answers[sequence] for sequence in sequences]


def decode(decoder: SlotDecoder, queue: list[Sequence], prefill_batch: int) -> dict[Sequence, list[int]]:
    """Decodes sequences in their order; they join in one encoder run once `prefill_batch` slots are free.

    Raises the exception of a sequence that failed.
    """
    answers: dict[Sequence, list[int]] = {}
    scheduled = 0
    while scheduled < len(queue) or decoder.rows:
        waiting = len(queue) - scheduled
        if waiting and decoder.free_slots >= min(prefill_batch, waiting):
            joining = queue[scheduled : scheduled + decoder.free_slots]
            answers.update(decoder.join(joining))
            scheduled += len(joining)
        result = decoder.step()
        for _, error in result.failed:
            raise error
        answers.update(result.finished)
    return answers
