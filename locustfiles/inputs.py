"""Seeded texts to send: one stream for every task and workload, the same on every machine.

A unique stream walks the numbered sentences of each template in a seeded order that visits none twice, so
it needs no memory of what it sent. It deals the templates in blocks that hold each in proportion, so a short
run has the same distribution of lengths as a long one.
"""

import itertools
import math
import random
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from locustfiles.grammar import Template, templates

TASKS = ("translation", "sentiment")
WORKLOADS = ("unique", "zipf", "paragraph")
ZIPF_DISTINCT = 200  # repeated texts
PARTS = ("warmup", "measured")
PARAGRAPH_SENTENCES = 3, 8
SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")

_WARMUP_SHARE = 1 / 8
_FEISTEL_ROUNDS = 3
_HASH_MULTIPLIER = 0x9E3779B97F4A7C15


class InputsExhausted(RuntimeError):
    """A unique stream has no text left that it has not sent."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A text to send, with the sentiment it must get where that is certain."""

    text: str
    label: str | None = None


class ShuffledRange:
    """The integers 0 to size - 1 in a seeded order, computed instead of stored.

    A Feistel network over a grid of at least `size` cells; a result outside is sent through again.
    """

    def __init__(self, size: int, rng: random.Random) -> None:
        self.size = size
        self._rows = math.isqrt(max(size - 1, 0)) + 1
        self._columns = -(-size // self._rows)
        self._keys = [(int(rng.random() * 2**53), int(rng.random() * 2**53)) for _ in range(_FEISTEL_ROUNDS)]

    def __getitem__(self, position: int) -> int:
        if not 0 <= position < self.size:
            raise IndexError(position)
        rows, columns = self._rows, self._columns
        while True:
            row, column = divmod(position, columns)
            for row_key, column_key in self._keys:
                row = (row + ((column ^ row_key) * _HASH_MULTIPLIER >> 32)) % rows
                column = (column + ((row ^ column_key) * _HASH_MULTIPLIER >> 32)) % columns
            position = row * columns + column
            if position < self.size:
                return position


def stream(task: str, workload: str, seed: int = 0, **options: Any) -> Iterator[Sample]:
    """The stream of a task and a workload, by their names."""
    _check("workload", workload, WORKLOADS)
    streams: dict[str, Callable[..., Iterator[Sample]]] = {
        "unique": unique,
        "zipf": zipf,
        "paragraph": paragraph,
    }
    return streams[workload](task, seed, **options)


def unique(task: str, seed: int = 0, part: str = "measured") -> Iterator[Sample]:
    """Texts that are all distinct; the warm-up and the measured part of any two seeds have none in common.

    Raises InputsExhausted once a template is used up.
    """
    _check("task", task, TASKS)
    _check("part", part, PARTS)
    return deal(templates(task), part, random.Random(f"{task}/{part}/{seed}"))


def repeated_texts(task: str, seed: int = 0, distinct: int = ZIPF_DISTINCT) -> list[Sample]:
    """The texts that `zipf` repeats, by rank."""
    if distinct < 1:
        raise ValueError(f"distinct must be at least 1, not {distinct}")
    return list(itertools.islice(unique(task, seed), distinct))


def zipf(
    task: str, seed: int = 0, distinct: int = ZIPF_DISTINCT, exponent: float = 1.1, new_share: float = 0.05
) -> Iterator[Sample]:
    """Repeats of `distinct` texts, rank r with probability proportional to r**-exponent, and new texts.

    A cache that holds the repeated ones hits 1 - `new_share` of the texts, however long it is asked.
    """
    texts = repeated_texts(task, seed, distinct)
    new = itertools.islice(unique(task, seed), distinct, None)
    cumulative = list(itertools.accumulate(rank**-exponent for rank in range(1, len(texts) + 1)))
    rng = random.Random(f"{task}/zipf/{seed}")
    return (
        next(new)
        if rng.random() < new_share
        else texts[bisect(cumulative, rng.random() * cumulative[-1], hi=len(texts) - 1)]
        for _ in itertools.count()
    )


def paragraph(task: str, seed: int = 0, part: str = "measured") -> Iterator[Sample]:
    """Paragraphs of the sentences of the unique stream, with a label where all sentences have the same."""
    sentences = unique(task, seed, part)
    return _paragraphs(sentences, random.Random(f"{task}/paragraph/{part}/{seed}"))


def _paragraphs(sentences: Iterator[Sample], rng: random.Random) -> Iterator[Sample]:
    fewest, most = PARAGRAPH_SENTENCES
    while True:
        count = fewest + int(rng.random() * (most - fewest + 1))
        together = [next(sentences) for _ in range(count)]
        labels = {sample.label for sample in together}
        yield Sample(" ".join(sample.text for sample in together), labels.pop() if len(labels) == 1 else None)


def one_sentence(texts: Iterable[str]) -> str:
    """`texts` as one long sentence: a server decodes each sentence of a text apart."""
    return ", ".join(SENTENCE_END.sub("", text) for text in texts) + "."


def deal(known: Sequence[Template], part: str, rng: random.Random) -> Iterator[Sample]:
    """The sentences of one part, block by block, each block in an order of its own."""
    walks = [_walk(template, part, rng) for template in known]
    block = [number for number, template in enumerate(known) for _ in range(template.weight)]
    while True:
        # Only random() is guaranteed to give the same sequence in every Python version; shuffle() is not.
        for number in sorted(block, key=lambda _: rng.random()):
            text = next(walks[number], None)
            if text is None:
                raise InputsExhausted(f"all {part} texts like {known[number].text(0)!r} are used")
            yield Sample(text, known[number].label)


def _walk(template: Template, part: str, rng: random.Random) -> Iterator[str]:
    """A template's sentences of one part, in an order drawn now."""
    # The same split for every seed, scattered so that each part has every word of a table.
    split = ShuffledRange(template.size, random.Random(0))
    edge = int(template.size * _WARMUP_SHARE)
    numbers = range(edge) if part == "warmup" else range(edge, template.size)
    order = ShuffledRange(len(numbers), rng)
    return (template.text(split[numbers[order[turn]]]) for turn in range(len(numbers)))


def _check(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ValueError(f"{kind} must be one of {', '.join(known)}, not {name!r}")
