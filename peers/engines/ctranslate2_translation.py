"""CTranslate2 with the same float32 weights, converted to its INT8, greedy.

A call may hold all texts: CTranslate2 sorts them and splits them into batches. It has one
`max_decoding_length` per call, so where lengths are fixed, either a callback ends each text at its own
maximum, or there is one call per maximum: the search tries both. Submitting texts is timed, reading answers
is not.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2

from peers.engines.dataset import Dataset, Timer


class Engine:
    """A Translator with as many workers and threads as its settings have."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
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

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        by_limit = settings["calls"] == "by_limit"
        batches = dataset.by_max_new_tokens() if by_limit else [[*range(len(dataset.sources))]]
        calls = []
        for batch in batches:
            limits = [dataset.max_new_tokens[index] for index in batch]
            call = {
                "source": [[self.pieces[token] for token in dataset.sources[index]] for index in batch],
                "max_decoding_length": max(limits),
                "min_decoding_length": max(limits) if dataset.fixed_length else 1,
                "callback": ends_at(limits) if settings["calls"] == "own_limits" else None,
            }
            # Asynchronous, so that every worker of the Translator has a batch.
            options = {"beam_size": 1, "return_end_token": True, "asynchronous": True}
            calls.append(call | options | {name: settings[name] for name in ("max_batch_size", "batch_type")})
        with timer:
            submitted = [self.translator.translate_batch(**call) for call in calls]
            results = [[one.result() for one in batch] for batch in submitted]
        outputs = [[[self.ids[piece] for piece in one.hypotheses[0]] for one in batch] for batch in results]
        return dataset.answers(batches, outputs)


def ends_at(limits: list[int]) -> Callable[[Any], bool]:
    """CTranslate2's callback after each token of a text, counted from 0: whether it is the last one."""
    return lambda result: result.step + 1 >= limits[result.batch_id]


def convert(models: Path, output: Path) -> None:
    """Writes the same weights as CTranslate2's INT8 model into `output`."""
    # Only a conversion needs transformers, which takes seconds to load.
    from peers.engines.ctranslate2_weights import convert as convert_weights

    convert_weights(models, output)
