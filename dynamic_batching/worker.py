"""A thread that works on what waits: what all engines have in common."""

import logging
import threading
from abc import ABC, abstractmethod
from typing import Any, Protocol

from .batch_queue import BatchQueue
from .errors import InferenceFailed
from .job import Done, Job, Text
from .scheduling import take_long_turns

log = logging.getLogger(__name__)


class Owner(Protocol):
    """Whom an engine serves. The callbacks are called on the engine's thread."""

    model: Any
    queue: BatchQueue
    cost: Any
    work: threading.Condition  # guards `queue` and `idle`, and says that something waits
    idle: int

    def clock_s(self) -> float: ...

    def rows(self) -> int: ...

    def on_warm(self, engine: "Engine", measured: list[Any]) -> None: ...

    def on_expired(self, jobs: list[Job]) -> None: ...

    def on_done(self, done: list[Done], run: Any, ended_s: float) -> None: ...

    def on_ended(self, engine: "Engine", error: BaseException | None) -> None: ...


class Engine(ABC):
    """`warm` once it has run; at one run since `running_since_s`, if at any; `retired` ends it."""

    def __init__(self, owner: Owner, name: str) -> None:
        self.owner = owner
        self.warm = False
        self.retired = False
        self.running_since_s: float | None = None
        # A thread that hangs for good must not keep the process from ending.
        self.thread = threading.Thread(target=self._run_thread, name=name, daemon=True)

    def busy_since_s(self) -> float | None:
        """Since when it has been at the run that it is at, if at any."""
        return self.running_since_s

    @property
    @abstractmethod
    def texts(self) -> list[Text]:
        """What it works on: lost with it, should it hang or end."""

    @abstractmethod
    def load(self, now_s: float) -> float:
        """What it is at, as its cost measures it."""

    @abstractmethod
    def warm_up(self) -> None:
        """Runs the model's warm-up batches and reports what was measured to `on_warm`."""

    @abstractmethod
    def work(self) -> None:
        """Works on what waits until it is retired."""

    def _run_thread(self) -> None:
        ended_by: BaseException | None = None
        take_long_turns()
        try:
            self.warm_up()
            self.work()
        except BaseException as error:
            ended_by = error
        self.owner.on_ended(self, ended_by)


def failed(cause: BaseException) -> InferenceFailed:
    # An error of its own for each text: some (StopIteration) cannot be handed to a future.
    failure = InferenceFailed("the model failed on this text")
    failure.__cause__ = cause
    return failure
