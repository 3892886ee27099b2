"""What goes through the scheduler: a request as a job, its texts, and the batches that they leave in."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(eq=False, slots=True)
class Job:
    """One request: the token ids of its texts, when it must be answered, and how far it is.

    Times are of the caller's clock, in seconds. The queue reads and writes the first group of fields, under
    the caller's lock; the second one belongs to the event loop.
    """

    tokens: list[list[int]]
    deadline_s: float
    admitted_s: float = 0.0
    queued_texts: int = 0
    queued_tokens: int = 0
    dropped: bool = False

    open: bool = True
    answers: list[Any] = field(default_factory=list)
    missing: int = 0
    queue_s: float | None = None
    inference_s: float = 0.0
    last_batch: "Batch | None" = None
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
    """Texts that run together, and after the run an answer or an exception for each, and the run's time."""

    texts: list[Text]
    tokens: int
    formed_s: float
    outcomes: list[Any] = field(default_factory=list)
    duration_s: float = 0.0
    retried: bool = False
