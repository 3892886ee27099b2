"""An engine that forms a batch the moment it is free, runs it whole, and hands the outcomes over."""

from typing import Any

from .batch_cost import Measured
from .engine import Engine, Owner, failed, log
from .errors import DEADLINE_PASSED, DeadlineExceeded
from .job import Batch, Done, Job, Text

WARMUP_RUNS = 2


class BatchEngine(Engine):
    """`batch` is what it runs."""

    def __init__(self, owner: Owner, name: str) -> None:
        super().__init__(owner, name)
        self.batch: Batch | None = None

    @property
    def texts(self) -> list[Text]:
        batch = self.batch
        return batch.texts if batch else []

    def load(self, now_s: float) -> float:
        """Seconds that its batch should yet take."""
        batch = self.batch
        if batch is None:
            return 0.0
        return max(0.0, batch.formed_s + self.owner.cost.seconds(1, batch.tokens) - now_s)

    def warm_up(self) -> None:
        """Runs the model's warm-up batches and reports, for each, its tokens and seconds."""
        measured: list[Measured] = []
        for batch in self.owner.model.warmup_batches():
            for _ in range(WARMUP_RUNS):
                started_s = self.running_since_s = self.owner.clock_s()
                self._infer(batch)
                duration_s = self.owner.clock_s() - started_s
            measured.append((sum(map(len, batch)), duration_s))
        self.running_since_s = None
        self.owner.on_warm(self, measured)

    def work(self) -> None:
        while (batch := self.take()) is not None:
            self.run(batch)

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
                    batch, expired = owner.queue.form(now_s, owner.cost.least_run_s(owner.queue))
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
            outcomes = self._infer([text.job.tokens[text.position] for text in batch.texts])
        except Exception as error:
            if len(batch.texts) == 1:
                outcomes = [failed(error)]
            else:
                log.warning(
                    "a batch of %s failed (%s), each text is tried alone", len(batch.texts), repr(error)
                )
                batch.retried = True
                outcomes = [self._infer_alone(job, job.tokens[position]) for job, position, _ in batch.texts]
        ended_s = clock_s()
        batch.duration_s = ended_s - started_s
        self.batch = self.running_since_s = None
        done = [
            Done(text, outcome, batch.formed_s) for text, outcome in zip(batch.texts, outcomes, strict=True)
        ]
        self.owner.on_done(done, batch, ended_s)

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
