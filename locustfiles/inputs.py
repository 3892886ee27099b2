"""Seeded texts to send: one stream for every task and workload, the same on every machine.

A text is a numbered sentence of a template. A unique stream walks the numbers of each template in a
seeded order that meets none twice, so it needs no memory of what it sent, and it deals the templates in
blocks that hold each in proportion, so a short run has the same spread of lengths as a long one.
"""

import itertools
import math
import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from locustfiles import grammar_everyday, grammar_reviews, grammar_scenes
from locustfiles.grammar import Template

TASKS = ("translation", "sentiment")
WORKLOADS = ("unique", "zipf", "paragraph")
PARAGRAPH_SENTENCES = 3, 8
PARTS = ("warmup", "measured")

TEMPLATES: dict[str, tuple[Template, ...]] = {
    "translation": grammar_scenes.TEMPLATES + grammar_everyday.TEMPLATES,
    "sentiment": grammar_reviews.TEMPLATES,
}

_ROUNDS = 3
_WARMUP_SHARE = 8
_MIX = 0x9E3779B97F4A7C15


class InputsExhausted(RuntimeError):
    """A unique stream has no text left that it has not sent."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A text to send, with the sentiment it must get where that is certain."""

    text: str
    label: str | None = None


class ShuffledRange:
    """The integers 0 to size - 1, each once, in an order drawn from a generator, without storing it.

    It is a Feistel network over a grid of at least `size` cells; a number that falls outside is sent
    through again until it falls inside.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self.size = size
        self._rows = math.isqrt(max(size - 1, 0)) + 1
        self._columns = -(-size // self._rows)
        self._keys = [(int(rng.random() * 2**53), int(rng.random() * 2**53)) for _ in range(_ROUNDS)]

    def __getitem__(self, position: int) -> int:
        """Return the number at a position."""
        if not 0 <= position < self.size:
            raise IndexError(position)
        rows, columns = self._rows, self._columns
        while True:
            row, column = divmod(position, columns)
            for row_key, column_key in self._keys:
                row = (row + ((column ^ row_key) * _MIX >> 32)) % rows
                column = (column + ((row ^ column_key) * _MIX >> 32)) % columns
            position = row * columns + column
            if position < self.size:
                return position


def unique(task: str, seed: int = 0, part: str = "measured") -> Iterator[Sample]:
    """Yield texts of which none comes twice.

    The warm-up part and the measured part of any two seeds have no text in common. `InputsExhausted` is
    raised once a template is used up, which is not before `capacity(task, part)` texts.
    """
    _check("task", task, TASKS)
    _check("part", part, PARTS)
    return deal(TEMPLATES[task], part, random.Random(f"{task}/{part}/{seed}"))


def zipf(task: str, seed: int = 0, distinct: int = 1000, exponent: float = 1.1) -> Iterator[Sample]:
    """Yield repeats of `distinct` texts without end, rank r with probability proportional to r**-exponent."""
    _check("task", task, TASKS)
    if distinct < 1:
        raise ValueError(f"distinct must be at least 1, not {distinct}")
    texts = list(itertools.islice(unique(task, seed), distinct))
    return _repeats(texts, exponent, random.Random(f"{task}/zipf/{seed}"))


def paragraph(task: str, seed: int = 0, part: str = "measured") -> Iterator[Sample]:
    """Yield texts of several sentences of the unique stream, of which none comes twice."""
    sentences = unique(task, seed, part)
    rng = random.Random(f"{task}/paragraph/{part}/{seed}")
    return _paragraphs(sentences, rng)


def stream(task: str, workload: str, seed: int = 0, **options: Any) -> Iterator[Sample]:
    """Open a stream by the names of its task and workload."""
    _check("workload", workload, WORKLOADS)
    streams: dict[str, Callable[..., Iterator[Sample]]] = {
        "unique": unique,
        "zipf": zipf,
        "paragraph": paragraph,
    }
    return streams[workload](task, seed, **options)


def capacity(task: str, part: str = "measured") -> int:
    """Count the texts that a unique stream is sure to hold."""
    _check("task", task, TASKS)
    _check("part", part, PARTS)
    templates = TEMPLATES[task]
    blocks = min(len(_positions(template, part)) // template.weight for template in templates)
    return blocks * sum(template.weight for template in templates)


def deal(templates: Sequence[Template], part: str, rng: random.Random) -> Iterator[Sample]:
    """Yield a part's sentences block by block, each block in an order of its own."""
    walks = [_walk(template, part, rng) for template in templates]
    block = [number for number, template in enumerate(templates) for _ in range(template.weight)]
    while True:
        # Only random() is promised to stay the same in every Python version; shuffle() is not.
        for number in sorted(block, key=lambda _: rng.random()):
            text = next(walks[number], None)
            if text is None:
                raise InputsExhausted(
                    f"template {templates[number].pattern!r} has no unused {part} text left"
                )
            yield Sample(text, templates[number].label)


def _walk(template: Template, part: str, rng: random.Random) -> Iterator[str]:
    """Order a template's sentences of one part; the order is drawn now, the texts when asked for."""
    positions = _positions(template, part)
    stride = _stride(template.size)
    order = ShuffledRange(len(positions), rng)
    return (
        template.text((positions.start + order[turn]) * stride % template.size)
        for turn in range(len(positions))
    )


def _positions(template: Template, part: str) -> range:
    """Split a template between the parts: the same positions for every seed."""
    edge = template.size // _WARMUP_SHARE
    return range(edge) if part == "warmup" else range(edge, template.size)


def _stride(size: int) -> int:
    """Find a step that scatters neighbouring positions, so that each part holds every word of a table."""
    stride = max(1, size * _MIX >> 64)
    while math.gcd(stride, size) > 1:
        stride += 1
    return stride


def _repeats(texts: list[Sample], exponent: float, rng: random.Random) -> Iterator[Sample]:
    """Draw by rank, the first text the most often."""
    cumulative = list(itertools.accumulate(rank**-exponent for rank in range(1, len(texts) + 1)))
    total = cumulative[-1]
    while True:
        yield texts[bisect(cumulative, rng.random() * total, hi=len(texts) - 1)]


def _paragraphs(sentences: Iterator[Sample], rng: random.Random) -> Iterator[Sample]:
    fewest, most = PARAGRAPH_SENTENCES
    while True:
        count = fewest + int(rng.random() * (most - fewest + 1))
        together = [next(sentences) for _ in range(count)]
        labels = {sample.label for sample in together}
        yield Sample(" ".join(sample.text for sample in together), labels.pop() if len(labels) == 1 else None)


def _check(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"{kind} must be one of {', '.join(known)}, not {name!r}")
