"""Marian with the same float32 weights, converted to its INT8, greedy.

One call may hold all texts: Marian sorts them and splits them into batches. It has one `max-length-factor`
a call, so where lengths are fixed the search also tries one call per maximum length. It takes and returns
pieces as text, so that the time includes looking them up in the vocabulary.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pymarian

from peers.engines.dataset import Dataset, Timer
from peers.engines.registry import marian_gemm_types


class Engine:
    """A Translator on one thread."""

    def __init__(self, models: Path, converted: Path, settings: dict[str, Any]) -> None:
        vocabulary = str(converted / "vocab.yml")
        self.translator = pymarian.Translator(
            models=str(converted / f"{settings['gemm']}.bin"),
            vocabs=[vocabulary, vocabulary],
            beam_size=1,
            cpu_threads=1,
            maxi_batch=1000,
            maxi_batch_sort="src",
            allow_unk=True,
            quiet=True,
        )
        self.ids: dict[str, int] = json.loads((converted / "vocab.yml").read_text())
        self.pieces = {index: piece for piece, index in self.ids.items()}
        self.version = f"pymarian {version('pymarian')}"

    def run(self, dataset: Dataset, settings: dict[str, Any], timer: Timer) -> list[list[int]]:
        by_limit = settings["calls"] == "by_limit"
        batches = dataset.by_max_new_tokens() if by_limit else [[*range(len(dataset.sources))]]
        calls = []
        for batch in batches:
            pairs = [(dataset.sources[index], dataset.max_new_tokens[index]) for index in batch]
            # Marian adds the end token itself.
            texts = [" ".join(map(self.pieces.__getitem__, source[:-1])) for source, _ in pairs]
            # An answer ends with the token after the length of its batch times this.
            factor = max((limit - 0.5) / len(source) for source, limit in pairs)
            calls.append((texts, {"max-length-factor": factor, "mini-batch": settings["batch_size"]}))
        with timer:
            results = [self.translator.translate(texts, **options) for texts, options in calls]
        return dataset.answers(batches, [[self.tokens(dataset, text) for text in one] for one in results])

    def tokens(self, dataset: Dataset, text: str) -> list[int]:
        """The token ids of an answer; Marian leaves the end token out."""
        ids = [self.ids[piece] for piece in text.split(" ") if piece]
        return ids if dataset.fixed_length else [*ids, dataset.end_id]


def convert(models: Path, output: Path) -> None:
    """Writes the same weights in Marian's INT8 formats, and the vocabulary, into `output`."""
    from peers.engines.marian_weights import write_npz

    output.mkdir()
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        weights = Path(scratch) / "model.npz"
        write_npz(models, weights, output / "vocab.yml")
        for gemm in marian_gemm_types():
            command = [sys.executable, "-m", "pymarian", "convert", "-g", gemm]
            subprocess.run([*command, "-f", weights, "-t", output / f"{gemm}.bin"], check=True)
