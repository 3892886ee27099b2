"""Our INT8 graphs as dynamic_batching runs them: slots that texts join as soon as others leave."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.runtime.onnx_files import find_onnx_files, kernel_library
from dynamic_batching.sequence import Sequence
from peers.engines.work import Work


class Engine:
    """One decoder on the calling thread, its queue full: as texts come, or sorted as peers sort theirs."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        files = find_onnx_files(models, "translation")
        files.verify()
        self.decoder = SlotDecoder(Graphs.load(files.folder, kernel_library(files)), settings["slots"])
        self.settings = settings
        self.version = f"onnxruntime {version('onnxruntime')}"

    def prepare(self, work: Work) -> Any:
        """A function that translates `work`, and returns one that gives the tokens in the texts' order."""
        least = work.limits if work.fixed_length else [0] * len(work.limits)
        order = work.longest_first() if self.settings["order"] == "length" else range(len(least))
        sequences = {
            place: Sequence(work.sources[place], work.limits[place], least[place]) for place in order
        }

        def run() -> Any:
            answers = drain(self.decoder, [*sequences.values()], self.settings["join"])
            return lambda: [answers[sequences[place]] for place in range(len(sequences))]

        return run


def drain(decoder: SlotDecoder, sequences: list[Sequence], join_size: int) -> dict[Sequence, list[int]]:
    """Decodes sequences, the first ones first; they join once `join_size` slots are free, in one encoder run.

    Raises what the run of one raised.
    """
    answers: dict[Sequence, list[int]] = {}
    at = 0
    while at < len(sequences) or decoder.rows:
        if at < len(sequences) and decoder.free_slots >= min(join_size, len(sequences) - at):
            joining = sequences[at : at + decoder.free_slots]
            answers.update(decoder.join(joining))
            at += len(joining)
        result = decoder.step()
        for _, error in result.failed:
            raise error
        answers.update(result.finished)
    return answers
