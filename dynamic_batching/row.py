"""What a decoder is given to decode, and what a step of it tells."""

from collections.abc import Hashable
from dataclasses import dataclass, field


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


Finished = list[tuple[Hashable, list[int]]]


@dataclass(frozen=True)
class StepResult:
    """The rows that left in a step: with their tokens, or with what their run raised.

    Tokens are without the start token, and with the end token if it was chosen.
    """

    finished: Finished = field(default_factory=list)
    failed: list[tuple[Hashable, Exception]] = field(default_factory=list)
