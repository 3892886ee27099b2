"""CTranslate2 with the same float32 weights, converted to its INT8, greedy.

One call has all texts, which CTranslate2 sorts and splits itself, asynchronously, so that no worker waits.
A call has one `max_decoding_length`; where lengths are fixed, a callback ends each text at its own limit, or
there is one call a limit: the search tries both. Handing pieces over counts, reading answers does not.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2

from peers.engines.work import Work


class Engine:
    """A Translator with as many workers and threads as the settings say."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.translator = ctranslate2.Translator(
            str(converted),
            device="cpu",
            compute_type="int8",
            inter_threads=settings["inter_threads"],
            intra_threads=settings["intra_threads"],
        )
        self.ids: dict[str, int] = json.loads((models / "translation" / "onnx" / "vocab.json").read_text())
        self.pieces = {index: piece for piece, index in self.ids.items()}
        self.version = f"ctranslate2 {ctranslate2.__version__}, {self.translator.compute_type}"

    def prepare(self, work: Work) -> Any:
        """A function that translates `work`, and returns one that gives the tokens in the texts' order."""
        calls = self.calls(work)
        pieces = [[[self.pieces[token] for token in work.sources[place]] for place in call] for call in calls]
        limits = [[work.limits[place] for place in call] for call in calls]

        def run() -> Any:
            waiting = [
                self.translator.translate_batch(
                    batch,
                    beam_size=1,
                    max_batch_size=self.settings["max_batch_size"],
                    batch_type=self.settings["batch_type"],
                    max_decoding_length=max(most),
                    min_decoding_length=max(most) if work.fixed_length else 1,
                    return_end_token=True,
                    callback=ends_at(most) if self.settings["calls"] == "own_limits" else None,
                    asynchronous=True,
                )
                for batch, most in zip(pieces, limits, strict=True)
            ]
            results = [[one.result() for one in batch] for batch in waiting]
            return lambda: self.answers(work, calls, results)

        return run

    def calls(self, work: Work) -> list[list[int]]:
        """Places of the texts that go into one call."""
        if self.settings["calls"] == "by_limit":
            return work.by_limit()
        return [list(range(len(work.sources)))]

    def answers(self, work: Work, calls: list[list[int]], results: list[list[Any]]) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for call, batch in zip(calls, results, strict=True):
            for place, result in zip(call, batch, strict=True):
                found[place] = work.cut(place, [self.ids[piece] for piece in result.hypotheses[0]])
        return [found[place] for place in range(len(found))]


def ends_at(limits: list[int]) -> Callable[[Any], bool]:
    """What CTranslate2 asks after each token of a text, counted from 0: whether it was the last one."""
    return lambda chosen: chosen.step + 1 >= limits[chosen.batch_id]


def convert(models: Path, output: Path) -> None:
    """Writes the same weights as CTranslate2's INT8 model into `output`."""
    # Only a conversion needs transformers, which takes seconds to load.
    from peers.engines.ctranslate2_weights import convert as convert_weights

    convert_weights(models, output)
