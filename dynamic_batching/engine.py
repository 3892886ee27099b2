"""One thread that forms a batch the moment it is free, runs it, and hands the outcomes over."""

import logging
import threading
from typing import Any, Protocol

from .batch_queue import BatchQueue
from .errors import DEADLINE_PASSED, DeadlineExceeded, InferenceFailed
from .job import Batch, Job

log = logging.getLogger(__name__)

WARMUP_RUNS = 2
Measured = tuple[int, float]


class Model(Protocol):
    def tokenize(self, text: str, where: list[str | int]) -> list[int]: ...

    def infer(self, batch: list[list[int]]) -> list[Any]: ...

    def warmup_batches(self) -> list[list[list[int]]]: ...


class Owner(Protocol):
    """Whom an engine serves. The callbacks are called on the engine's thread."""

    model: Model
    queue: BatchQueue
    work: threading.Condition  # guards `queue` and `idle`, and says that something waits
    idle: int

    def clock_s(self) -> float: ...

    def least_run_s(self) -> float: ...

    def on_warm(self, engine: "Engine", measured: list[Measured]) -> None: ...

    def on_expired(self, jobs: list[Job]) -> None: ...

    def on_done(self, batch: Batch) -> None: ...

    def on_ended(self, engine: "Engine", error: BaseException | None) -> None: ...


class Engine:
    """`warm` once it has run a batch; `batch` is what it runs, since `running_since_s`; `retired` ends it."""

    def __init__(self, owner: Owner, name: str) -> None:
        self.owner = owner
        self.warm = False
        self.retired = False
        self.batch: Batch | None = None
        self.running_since_s: float | None = None
        # A thread that hangs for good must not keep the process from ending.
        self.thread = threading.Thread(target=self._run_thread, name=name, daemon=True)

    def _run_thread(self) -> None:
        ended_by: BaseException | None = None
        try:
            self.warm_up()
            while (batch := self.take()) is not None:
                self.run(batch)
        except BaseException as error:
            ended_by = error
        self.owner.on_ended(self, ended_by)

    def warm_up(self) -> None:
        """Runs the model's warm-up batches and reports, for each, its tokens and seconds."""
        measured = []
        for batch in self.owner.model.warmup_batches():
            for _ in range(WARMUP_RUNS):
                started_s = self.running_since_s = self.owner.clock_s()
                self._infer(batch)
                duration_s = self.owner.clock_s() - started_s
            measured.append((sum(map(len, batch)), duration_s))
        self.running_since_s = None
        self.owner.on_warm(self, measured)

    def take(self, wait: bool = True) -> Batch | None:
        """The next batch, formed now; None once the engine is retired, or at once if it shall not wait."""
        owner = self.owner
        while True:
            with owner.work:
                if self.retired:
                    return None
                now_s = owner.clock_s()
                due_s = owner.queue.due_s()
                if due_s <= now_s:
                    batch, expired = owner.queue.form(now_s, owner.least_run_s())
                    self.batch, self.running_since_s = batch, now_s if batch else None
                elif wait:
                    owner.idle += 1
                    owner.work.wait(None if due_s == float("inf") else due_s - now_s)
                    owner.idle -= 1
                    continue
                else:
                    return None
            if expired:
                owner.on_expired(expired)
            if batch is not None:
                return batch

    def run(self, batch: Batch) -> None:
        """Infers a batch, item by item where it fails as a whole, and reports it done."""
        clock_s = self.owner.clock_s
        started_s = clock_s()
        try:
            batch.outcomes = self._infer([text.job.tokens[text.position] for text in batch.texts])
        except Exception as error:
            if len(batch.texts) == 1:
                batch.outcomes = [failed(error)]
            else:
                log.warning(
                    "a batch of %s failed (%s), each text is tried alone", len(batch.texts), repr(error)
                )
                batch.retried = True
                batch.outcomes = [
                    self._infer_alone(job, job.tokens[position]) for job, position, _ in batch.texts
                ]
        batch.duration_s = clock_s() - started_s
        self.batch = self.running_since_s = None
        self.owner.on_done(batch)

    def _infer_alone(self, job: Job, token_ids: list[int]) -> Any:
        self.running_since_s = self.owner.clock_s()
        if job.dropped or job.deadline_s <= self.running_since_s:
            return DeadlineExceeded(DEADLINE_PASSED)
        try:
            return self._infer([token_ids])[0]
        except Exception as error:
            return failed(error)

    def _infer(self, batch: list[list[int]]) -> list[Any]:
        answers = self.owner.model.infer(batch)
        if len(answers) != len(batch):
            raise RuntimeError(f"{len(answers)} answers to {len(batch)} texts")
        return answers


def failed(cause: BaseException) -> InferenceFailed:
    # An error of its own for each text: some (StopIteration) cannot be handed to a future.
    failure = InferenceFailed("the model failed on this text")
    failure.__cause__ = cause
    return failure
