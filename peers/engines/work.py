"""What every engine is given to translate: token ids, the most tokens of each answer, and their order."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LENGTHS = ("mixed", "equal")


@dataclass(frozen=True)
class Work:
    """Texts as token ids with their end token, and how many tokens each answer may have, its end among them.

    With `fixed_length` an answer has exactly as many: random weights have no sense of an end.
    """

    sources: list[list[int]]
    limits: list[int]
    fixed_length: bool
    end_id: int

    def save(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: Path) -> "Work":
        return cls(**json.loads(path.read_text()))

    def part(self, places: Iterable[int]) -> "Work":
        chosen = list(places)
        sources = [self.sources[place] for place in chosen]
        return Work(sources, [self.limits[place] for place in chosen], self.fixed_length, self.end_id)

    def deal(self, parts: int) -> list["Work"]:
        """One share a process: longest first in turn, so that none has more to do, each in its old order."""
        order = self.longest_first()
        return [self.part(sorted(order[turn::parts])) for turn in range(parts)]

    def longest_first(self) -> list[int]:
        return sorted(range(len(self.sources)), key=lambda place: -len(self.sources[place]))

    def batches(self, size: int) -> list[list[int]]:
        """Places of like length in batches of `size`, the longest first."""
        order = self.longest_first()
        return [order[at : at + size] for at in range(0, len(order), size)]

    def by_limit(self) -> list[list[int]]:
        """Places whose answers have the same limit, the longest first."""
        groups: dict[int, list[int]] = defaultdict(list)
        for place, limit in enumerate(self.limits):
            groups[limit].append(place)
        return [groups[limit] for limit in sorted(groups, reverse=True)]

    def cut(self, place: int, tokens: list[int]) -> list[int]:
        """The text's own answer, out of what its batch went on with: to its limit, and to its end token."""
        answer = tokens[: self.limits[place]]
        if not self.fixed_length and self.end_id in answer:
            answer = answer[: answer.index(self.end_id) + 1]
        return answer

    def wrong_lengths(self, answers: list[list[int]]) -> int:
        """How many answers have not the length that was asked for; none may, with either kind of limit."""
        return sum(
            not 0 < len(answer) <= limit
            or (len(answer) < limit and (self.fixed_length or answer[-1] != self.end_id))
            for answer, limit in zip(answers, self.limits, strict=True)
        )

    def facts(self) -> dict[str, Any]:
        lengths = [len(source) for source in self.sources]
        return {
            "texts": len(lengths),
            "source_tokens": sum(lengths),
            "source_tokens_min": min(lengths),
            "source_tokens_max": max(lengths),
            "fixed_length": self.fixed_length,
        }


def choose(token_ids: Iterator[list[int]], lengths: str, count: int, group: int) -> list[list[int]]:
    """`count` texts of the stream: as they come (`mixed`), or in full groups of one length (`equal`).

    Equal texts are the first `group` of a length to be complete, of as many lengths as reach `count`: a batch
    of up to `group` texts then has no padding, and no step that a text of it does not need.
    """
    if lengths == "mixed":
        return list(itertools.islice(token_ids, count))
    waiting: dict[int, list[list[int]]] = defaultdict(list)
    chosen: list[list[int]] = []
    while len(chosen) < count:
        ids = next(token_ids)
        same = waiting[len(ids)]
        same.append(ids)
        if len(same) == group:
            chosen += waiting.pop(len(ids))
    return chosen
