"""What a decoder is given to decode, and what a step of it tells."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Row:
    """A text to decode: its tokens, its limits, and the key that its answer comes back under.

    It ends at its end token or after `max_new_tokens`; the end token is not chosen before `min_new_tokens`.
    With one beam it is decoded greedily. With more, each beam takes a slot, and so holds the whole source
    again: 2 * layers * d_model * 4 bytes a source token, 24 KiB with 6 layers of 512.
    """

    key: Hashable
    source: list[int]
    max_new_tokens: int
    min_new_tokens: int = 0
    num_beams: int = 1


# What the encoder gives is padded to its longest row, and to write so much padding takes longer than a run.
MOST_PADDING_TOKENS = 256


def runs_of_like_length(rows: Sequence[Row]) -> list[list[Row]]:
    """`rows` in as few encoder runs as keep the padding of each in bounds; the longest first."""
    runs: list[list[Row]] = []
    padding = 0
    for row in sorted(rows, key=lambda row: len(row.source), reverse=True):
        padding += len(runs[-1][0].source) - len(row.source) if runs else 0
        if not runs or padding > MOST_PADDING_TOKENS:
            runs.append([])
            padding = 0
        runs[-1].append(row)
    return runs


# By key: the keys and values (ck0, cv0, ck1, ...) that one encoder run gave for its texts, padded, the place
# of this text among them, and its length.
Encoded = dict[Hashable, tuple[list[np.ndarray], int, int]]
Finished = list[tuple[Hashable, list[int]]]


@dataclass(frozen=True)
class StepResult:
    """The rows that left in a step: with their tokens, or with what their run raised.

    Tokens are without the start token, and with the end token if it was chosen.
    """

    finished: Finished = field(default_factory=list)
    failed: list[tuple[Hashable, Exception]] = field(default_factory=list)
