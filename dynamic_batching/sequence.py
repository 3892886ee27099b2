"""What goes through the scheduler: a request, its sequences, and what a worker reports of them."""

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Request:
    """One request: its sequences, when it must be answered, and how far it is.

    Times are of the scheduler's clock, in seconds. The queue reads and writes the first group of fields,
    under its lock; the second one belongs to the event loop.
    """

    sequences: list["Sequence"] = field(default_factory=list)
    deadline_s: float = math.inf
    admitted_s: float = 0.0
    queued_sequences: int = 0
    queued_tokens: int = 0
    dropped: bool = False

    open: bool = True
    unfinished: int = 0
    started_s: float | None = None
    ended_s: float = 0.0
    future: "asyncio.Future[None] | None" = None
    timer: asyncio.TimerHandle | None = None
    disconnect_watch: "asyncio.Task[None] | None" = None


@dataclass(eq=False, slots=True)
class Sequence:
    """One text from the queue to its answer.

    `source` are its token ids. A translation ends at its end token or after `max_new_tokens`; the end token
    is not chosen before `min_new_tokens`. With one beam it is decoded greedily. With more, each beam takes a
    slot, and so holds the whole source again: 2 * layers * d_model * 4 bytes a source token, 24 KiB with 6
    layers of 512. It left the queue at `scheduled_s`; `outcome` is its answer, or the exception instead.
    """

    source: list[int]
    max_new_tokens: int = 0
    min_new_tokens: int = 0
    num_beams: int = 1
    request: Request = field(default_factory=Request)
    scheduled_s: float = 0.0
    outcome: object = None


# What an encoder gives is padded to its longest row, and to write so much padding takes longer than a run.
MAX_PADDING_TOKENS = 256


def runs_of_like_length(sequences: Iterable[Sequence]) -> list[list[Sequence]]:
    """Sequences in as few encoder runs as keep the padding of each in bounds; the longest first."""
    runs: list[list[Sequence]] = []
    padding = 0
    for sequence in sorted(sequences, key=lambda one: len(one.source), reverse=True):
        padding += len(runs[-1][0].source) - len(sequence.source) if runs else 0
        if not runs or padding > MAX_PADDING_TOKENS:
            runs.append([])
            padding = 0
        runs[-1].append(sequence)
    return runs


@dataclass(eq=False, slots=True)
class Batch:
    """Sequences that leave the queue together; `duration_s` and `retried` are of the run, where it is one."""

    sequences: list[Sequence]
    tokens: int
    scheduled_s: float = 0.0
    duration_s: float = 0.0
    retried: bool = False

    @property
    def queue_wait_s(self) -> float:
        """The longest wait of its sequences: the oldest is the first."""
        return self.scheduled_s - self.sequences[0].request.admitted_s


@dataclass(slots=True)
class Steps:
    """What a worker decoded since its last report.

    `rows` and `seconds` have an entry a step; `waits_s` an entry a join, the longest wait of its sequences;
    `joins` as well, when they left the queue and when they were encoded; `lengths` one a sequence that
    finished, its source tokens and its new ones. `prefill_s` is time between steps; `background_s` CPU time
    of sequences that were encoded in the background, whose seconds hold it already.
    """

    rows: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    joins: list[tuple[float, float]] = field(default_factory=list)
    lengths: list[tuple[int, int]] = field(default_factory=list)
    joined: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    background_s: float = 0.0
