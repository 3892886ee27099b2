"""What goes through the scheduler: a request as a job, its texts, and the batches that they leave in."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(eq=False, slots=True)
class Job:
    """One request: the token ids of its texts, when it must be answered, and how far it is.

    Each of its texts takes `num_beams` slots of a decoder.

    Times are of the caller's clock, in seconds. The queue reads and writes the first group of fields, under
    the caller's lock; the second one belongs to the event loop.
    """

    tokens: list[list[int]]
    deadline_s: float
    num_beams: int = 1
    admitted_s: float = 0.0
    queued_texts: int = 0
    queued_tokens: int = 0
    dropped: bool = False

    open: bool = True
    answers: list[Any] = field(default_factory=list)
    missing: int = 0
    started_s: float | None = None
    ended_s: float = 0.0
    future: "asyncio.Future[list[Any]] | None" = None
    timer: asyncio.TimerHandle | None = None
    watch: "asyncio.Task[None] | None" = None


class Text(NamedTuple):
    """One text of a job, by its position there; `length` in tokens."""

    job: Job
    position: int
    length: int


@dataclass(eq=False, slots=True)
class Batch:
    """Texts that leave the queue together; `duration_s` and `retried` are of the run, where it is one."""

    texts: list[Text]
    tokens: int
    formed_s: float
    duration_s: float = 0.0
    retried: bool = False

    @property
    def queue_wait_s(self) -> float:
        """The longest wait of its texts: the oldest is the first."""
        return self.formed_s - self.texts[0].job.admitted_s


class Done(NamedTuple):
    """A text that ended, by its answer or an exception; it left the queue at `started_s`."""

    text: Text
    outcome: Any
    started_s: float
