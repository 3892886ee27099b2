"""Compares engines, whatever they run on: latency, and how far their answers match those of the first."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sacrebleu.metrics import CHRF

from model_export.progress import PrintLine
from model_export.verify import share

BATCHES = (1, 32)
RUNS = 5

Tokens = list[list[int]]
Run = Callable[[Tokens], list[Any]]


@dataclass(frozen=True)
class Row:
    """One engine's figures; `likeness` is chrF (translation) or the percentage of equal labels."""

    engine: str
    bytes: int
    load_s: float
    latency_ms: dict[int, float]
    identical: float
    likeness: float


def measure(
    task: str,
    engines: list[tuple[str, int, float, Run]],
    tokens: Tokens,
    decode: Callable[[Any], str],
    print_line: PrintLine,
) -> list[Row]:
    """Answers and latencies of every engine; engines alternate, so that drift affects all of them."""
    answers = {
        name: [
            decode(one)
            for at in range(0, len(tokens), BATCHES[-1])
            for one in run(tokens[at : at + BATCHES[-1]])
        ]
        for name, _, _, run in engines
    }
    times: dict[tuple[str, int], list[float]] = {}
    for batch in BATCHES:
        for _ in range(RUNS):
            for name, _, _, run in engines:
                _, seconds = timed(partial(run, tokens[:batch]))
                times.setdefault((name, batch), []).append(seconds * 1e3)
        print_line(f"  {task}: batches of {batch} measured")
    reference = answers[engines[0][0]]
    rows = []
    for name, size_bytes, load_s, _ in engines:
        identical = share(a == b for a, b in zip(answers[name], reference, strict=True))
        likeness = (
            CHRF().corpus_score(answers[name], [reference]).score
            if task == "translation"
            else 100 * identical
        )
        latency_ms = {batch: statistics.median(times[name, batch]) for batch in BATCHES}
        rows.append(Row(name, size_bytes, load_s, latency_ms, identical, likeness))
    return rows


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    started_s = time.perf_counter()
    result = run()
    return result, time.perf_counter() - started_s


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
