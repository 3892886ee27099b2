"""What every engine answers: token ids, the maximum length of each answer, and how texts form batches."""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

LENGTHS = ("mixed", "equal")
# Indices of the texts of each batch.
Batches = list[list[int]]


class Timer:
    """Measures the seconds of a `with` block."""

    seconds = 0.0

    def __enter__(self) -> None:
        self.seconds = -time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()


@dataclass(frozen=True)
class Dataset:
    """Texts as token ids, and the maximum number of tokens of each answer; both include the end token.

    With `fixed_length` an answer has exactly that many: random weights do not learn when to end. Sentiment is
    an answer of one token, the index of its class.
    """

    sources: list[list[int]]
    max_new_tokens: list[int]
    fixed_length: bool
    end_id: int

    def subset(self, indices: Iterable[int]) -> "Dataset":
        chosen = list(indices)
        return replace(
            self,
            sources=[self.sources[index] for index in chosen],
            max_new_tokens=[self.max_new_tokens[index] for index in chosen],
        )

    def first(self, count: int) -> "Dataset":
        return self.subset(range(min(count, len(self.sources))))

    def split(self, parts: int) -> list["Dataset"]:
        """Parts with similar token counts, round-robin from the longest text; each in the original order."""
        order = self.longest_first()
        return [self.subset(sorted(order[part::parts])) for part in range(parts)]

    def longest_first(self) -> list[int]:
        return sorted(range(len(self.sources)), key=lambda index: -len(self.sources[index]))

    def batches(self, size: int) -> Batches:
        """Texts of like length in batches of `size`, the longest first."""
        order = self.longest_first()
        return [order[start : start + size] for start in range(0, len(order), size)]

    def batches_of_tokens(self, most: int) -> Batches:
        """Texts of like length in batches of at most `most` tokens, the longest first; longer ones alone."""
        batches: Batches = []
        tokens = most
        for index in self.longest_first():
            tokens += len(self.sources[index])
            if tokens > most:
                batches.append([])
                tokens = len(self.sources[index])
            batches[-1].append(index)
        return batches

    def by_max_new_tokens(self) -> Batches:
        """One batch for each maximum length, the longest first."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index, limit in enumerate(self.max_new_tokens):
            groups[limit].append(index)
        return [groups[limit] for limit in sorted(groups, reverse=True)]

    def answers(self, batches: Batches, outputs: list[list[list[int]]]) -> list[list[int]]:
        """The answers in the order of the texts, out of what each batch generated."""
        answers: list[list[int]] = [[] for _ in self.sources]
        for batch, output in zip(batches, outputs, strict=True):
            for index, tokens in zip(batch, output, strict=True):
                answers[index] = self.trim(index, tokens)
        return answers

    def trim(self, index: int, tokens: list[int]) -> list[int]:
        """A text's answer without what its batch generated past its maximum length or end token."""
        answer = tokens[: self.max_new_tokens[index]]
        if not self.fixed_length and self.end_id in answer:
            answer = answer[: answer.index(self.end_id) + 1]
        return answer

    def wrong_lengths(self, answers: list[list[int]]) -> int:
        """How many answers are empty, too long, or shorter than the maximum without an end token."""
        return sum(
            not 0 < len(answer) <= limit
            or (len(answer) < limit and (self.fixed_length or answer[-1] != self.end_id))
            for answer, limit in zip(answers, self.max_new_tokens, strict=True)
        )

    def summary(self) -> dict[str, Any]:
        lengths = [len(source) for source in self.sources]
        return {
            "texts": len(lengths),
            "source_tokens": sum(lengths),
            "source_tokens_min": min(lengths),
            "source_tokens_max": max(lengths),
            "fixed_length": self.fixed_length,
        }


def select_sources(stream: Iterator[list[int]], lengths: str, count: int, group: int) -> list[list[int]]:
    """`count` texts of the stream: the first ones (`mixed`), or full groups of one length (`equal`).

    Groups are taken in the order in which they fill, so that a batch of up to `group` texts has no padding,
    and no step that one of its texts does not need.
    """
    if lengths == "mixed":
        return list(itertools.islice(stream, count))
    incomplete: dict[int, list[list[int]]] = defaultdict(list)
    selected: list[list[int]] = []
    while len(selected) < count:
        ids = next(stream)
        incomplete[len(ids)].append(ids)
        if len(incomplete[len(ids)]) == group:
            selected += incomplete.pop(len(ids))
    return selected
