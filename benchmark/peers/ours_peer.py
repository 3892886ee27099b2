"""Our INT8 graphs as dynamic_batching runs them: slots that texts join as soon as others leave."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmark.peers.work import Work
from dynamic_batching.artefacts import find_artefact
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.graphs import Graphs
from dynamic_batching.row import Row


class Engine:
    """One decoder on the calling thread, its queue full: as texts come, or sorted as peers sort theirs."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        artefact = find_artefact(models, "translation/onnx")
        artefact.verify()
        self.decoder = SlotDecoder(Graphs.load(artefact.folder, artefact.kernels), settings["slots"])
        self.settings = settings
        self.version = f"onnxruntime {version('onnxruntime')}"

    def prepare(self, work: Work) -> Any:
        """A function that translates `work`, and returns one that gives the tokens in the texts' order."""
        least = work.limits if work.fixed_length else [0] * len(work.limits)
        order = work.longest_first() if self.settings["order"] == "length" else range(len(least))
        rows = [Row(place, work.sources[place], work.limits[place], least[place]) for place in order]

        def run() -> Any:
            answers = drain(self.decoder, rows, self.settings["join"])
            return lambda: [answers[place] for place in range(len(rows))]

        return run


def drain(decoder: SlotDecoder, rows: list[Row], join_size: int) -> dict[Any, list[int]]:
    """Decodes `rows`, the first ones first; they join once `join_size` slots are free, as one encoder run.

    Raises what a row's run raised.
    """
    answers: dict[Any, list[int]] = {}
    at = 0
    while at < len(rows) or decoder.rows:
        if at < len(rows) and decoder.free >= min(join_size, len(rows) - at):
            joining = rows[at : at + decoder.free]
            answers.update(decoder.join(joining))
            at += len(joining)
        result = decoder.step()
        for _, error in result.failed:
            raise error
        answers.update(result.finished)
    return answers
