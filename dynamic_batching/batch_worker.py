"""A worker that schedules a batch the moment it is free, runs it whole, and hands the outcomes over."""

from collections.abc import Callable
from collections.abc import Sequence as Listing
from typing import Any

from .latency_model import BatchLatencyModel
from .queue import RequestQueue
from .sequence import Batch, Sequence
from .web.errors import DeadlineExceeded
from .worker import InferenceFailed, SchedulerCallbacks, Worker, log

WARMUP_RUNS = 2
Infer = Callable[[list[list[int]]], Listing[Any]]


class BatchWorker(Worker[Batch]):
    """`batch` is what it runs by `infer`, which answers texts in token ids in their order."""

    def __init__(
        self,
        callbacks: SchedulerCallbacks[Batch],
        name: str,
        queue: RequestQueue,
        latency: BatchLatencyModel,
        infer: Infer,
        warmup_batches: list[list[list[int]]],
    ) -> None:
        super().__init__(callbacks, name)
        self.batch: Batch | None = None
        self._queue = queue
        self._latency = latency
        self._infer_batch = infer
        self._warmup_batches = warmup_batches

    @property
    def sequences(self) -> list[Sequence]:
        batch = self.batch
        return batch.sequences if batch else []

    def free_in_s(self, now_s: float) -> float:
        batch = self.batch
        if batch is None:
            return 0.0
        return max(0.0, batch.scheduled_s + self._latency.seconds(1, batch.tokens) - now_s)

    def warm_up(self) -> None:
        measured = []
        for batch in self._warmup_batches:
            for _ in range(WARMUP_RUNS):
                started_s = self.running_since_s = self.callbacks.clock_s()
                self._infer(batch)
                duration_s = self.callbacks.clock_s() - started_s
            measured.append(Batch([], sum(map(len, batch)), duration_s=duration_s))
        self.running_since_s = None
        self.callbacks.on_warm(self, measured)

    def work(self) -> None:
        while (batch := self.schedule()) is not None:
            self.run(batch)

    def schedule(self, wait: bool = True) -> Batch | None:
        """The next batch, formed now; None once the worker is retired, or at once if it shall not wait."""
        queue = self._queue
        while True:
            with queue.lock:
                if self.retired:
                    return None
                now_s = self.callbacks.clock_s()
                if queue.due_s() <= now_s:
                    batch, expired = queue.schedule(now_s, self._latency.min_run_s(queue))
                    self.batch, self.running_since_s = batch, now_s if batch else None
                elif wait:
                    queue.wait(now_s)
                    continue
                else:
                    return None
            if expired:
                self.callbacks.on_expired(expired)
            if batch is not None:
                return batch

    def run(self, batch: Batch) -> None:
        """Infers a batch, text by text where it fails as a whole, and reports it done."""
        started_s = self.callbacks.clock_s()
        try:
            outcomes = self._infer([sequence.source for sequence in batch.sequences])
        except Exception as error:
            if len(batch.sequences) == 1:
                outcomes = [InferenceFailed(error)]
            else:
                count = len(batch.sequences)
                log.warning("a batch of %s failed (%s), each text is tried alone", count, repr(error))
                batch.retried = True
                outcomes = [self._infer_alone(sequence) for sequence in batch.sequences]
        ended_s = self.callbacks.clock_s()
        batch.duration_s = ended_s - started_s
        self.batch = self.running_since_s = None
        for sequence, outcome in zip(batch.sequences, outcomes, strict=True):
            sequence.outcome = outcome
        self.callbacks.on_done(batch.sequences, batch, ended_s)

    def _infer_alone(self, sequence: Sequence) -> object:
        self.running_since_s = self.callbacks.clock_s()
        if sequence.request.dropped or sequence.request.deadline_s <= self.running_since_s:
            return DeadlineExceeded()
        try:
            return self._infer([sequence.source])[0]
        except Exception as error:
            return InferenceFailed(error)

    def _infer(self, batch: list[list[int]]) -> Listing[object]:
        answers = self._infer_batch(batch)
        if len(answers) != len(batch):
            raise RuntimeError(f"{len(answers)} answers to {len(batch)} texts")
        return answers
