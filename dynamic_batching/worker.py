"""A thread that works on what waits: what all workers have in common."""

import logging
import threading
from abc import ABC, abstractmethod
from typing import Generic, Protocol

from .cpu_scheduling import use_long_slices
from .latency_model import Report
from .sequence import Request, Sequence

log = logging.getLogger(__name__)


class InferenceFailed(Exception):
    """The model raised `__cause__` on this text alone; an error of its own for each text."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("the model failed on this text")
        self.__cause__ = cause


class SchedulerCallbacks(Protocol[Report]):
    """What a worker asks and tells its scheduler, on the worker's thread."""

    def clock_s(self) -> float: ...

    def running_slots(self) -> int:
        """How many slots the sequences of all workers take."""

    def on_warm(self, worker: "Worker[Report]", measured: list[Report]) -> None: ...

    def on_expired(self, requests: list[Request]) -> None: ...

    def on_done(self, sequences: list[Sequence], report: Report, ended_s: float) -> None: ...

    def on_exit(self, worker: "Worker[Report]", error: BaseException | None) -> None: ...


class Worker(ABC, Generic[Report]):
    """`warm` once it has run; at one run since `running_since_s`, if at any; `retired` ends it."""

    def __init__(self, callbacks: SchedulerCallbacks[Report], name: str) -> None:
        self.callbacks = callbacks
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
    def sequences(self) -> list[Sequence]:
        """What it works on: lost with it, should it hang or end."""

    @abstractmethod
    def free_in_s(self, now_s: float) -> float:
        """Seconds until it can take on more."""

    @abstractmethod
    def warm_up(self) -> None:
        """Runs the warm-up batches and reports what was measured to `on_warm`."""

    @abstractmethod
    def work(self) -> None:
        """Works on what waits until it is retired."""

    @property
    def slots(self) -> int:
        """How many slots its sequences take, or will."""
        return sum(sequence.num_beams for sequence in self.sequences)

    def _run_thread(self) -> None:
        ended_by: BaseException | None = None
        use_long_slices()
        try:
            self.warm_up()
            self.work()
        except BaseException as error:
            ended_by = error
        self.callbacks.on_exit(self, ended_by)
