"""Fake models, clocks and queues for the tests of schedulers and workers."""

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

from dynamic_batching.batch_worker import BatchWorker
from dynamic_batching.config import Settings
from dynamic_batching.latency_model import BatchLatencyModel, Load
from dynamic_batching.queue import RequestQueue
from dynamic_batching.scheduler import Scheduler
from dynamic_batching.scheduler_metrics import SchedulerMetrics
from dynamic_batching.sequence import Batch, Request, Sequence
from dynamic_batching.web.errors import DeadlineExceeded, Disconnected, Refusal
from dynamic_batching.web.request_context import RequestContext
from dynamic_batching.worker import InferenceFailed, SchedulerCallbacks

FOREVER_S = float("inf")
# First token ids of sequences that fail, hang, or end the thread.
FAILS = 13
HANGS = 66
ENDS_THREAD = 99
TOKEN_S = 0.001
RUN_COST_TOKENS = 12
IDLE = Load(0.0, 0)


class FakeClockLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run, then jumps to the next timer."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__()

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run_fake(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=FakeClockLoop) as runner:
        return runner.run(main)


def sequence(token_ids: list[int], num_beams: int = 1) -> Sequence:
    return Sequence(token_ids, len(token_ids), num_beams=num_beams)


def request(*texts: list[int], deadline_s: float = FOREVER_S) -> Request:
    """A request whose sequences belong to it."""
    made = Request([sequence(token_ids) for token_ids in texts], deadline_s)
    for each in made.sequences:
        each.request = made
    return made


def context(deadline_s: float = FOREVER_S, receive: Any = None) -> RequestContext:
    """A request's context; its client's disconnect is awaited only if `receive` is given."""
    made = RequestContext()
    made.deadline_s, made.receive = deadline_s, receive
    return made


class FakeModel:
    """Answers a text with its own tokens; some first tokens fail, hang or end the thread."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.warmup_batches = [[[1, 2, 3]]]
        self.go_on = threading.Event()
        self.hanging = threading.Event()

    def infer(self, batch: list[list[int]]) -> list[Any]:
        self.batches.append(batch)
        first = {token_ids[0] for token_ids in batch}
        if HANGS in first:
            self.hanging.set()
            self.go_on.wait()
        if ENDS_THREAD in first:
            raise SystemExit
        if FAILS in first:
            raise StopIteration("broken text")
        return [tuple(token_ids) for token_ids in batch]

    def duration_s(self, batch: Batch) -> float:
        return (RUN_COST_TOKENS + batch.tokens) * TOKEN_S


class RecordingQueue(RequestQueue):
    """Notes each batch that is scheduled, and fails the test where one must not have been."""

    def __init__(self, *limits: Any) -> None:
        super().__init__(*limits)
        self.batches: list[Batch] = []
        self.bounds: dict[Sequence, int] = {}

    def push(self, request: Request, now_s: float) -> None:
        for position, each in enumerate(request.sequences):
            self.bounds[each] = len(self.batches) + self.sequences + position + 1
        super().push(request, now_s)

    def schedule(
        self, now_s: float, run_s: float = 0.0, free_slots: int | None = None
    ) -> tuple[Batch | None, list[Request]]:
        until_s = now_s + run_s
        requests = [(each, each.request) for each in self._waiting]
        waiting = [each for each, its in requests if not its.dropped and its.deadline_s > until_s]
        batch, expired = super().schedule(now_s, run_s, free_slots)
        assert all(each.deadline_s <= until_s for each in expired)
        if batch is None:
            assert not waiting
            return batch, expired
        self.batches.append(batch)
        assert len(batch.sequences) <= self.max_batch_size
        assert batch.sequences == waiting[: len(batch.sequences)], "first come, first served"
        assert batch.tokens == sum(len(each.source) for each in batch.sequences)
        assert batch.tokens <= self.max_batch_tokens or len(batch.sequences) == 1
        for each in batch.sequences:
            assert each.request.open and not each.request.dropped and each.request.deadline_s > now_s
            assert each.scheduled_s == now_s
            assert len(self.batches) <= self.bounds.pop(each), "a sequence waits past its bound"
        return batch, expired


def ran(tokens: int, duration_s: float) -> Batch:
    return Batch([], tokens, duration_s=duration_s)


def measured_latency(
    run_cost_tokens: float = RUN_COST_TOKENS, token_s: float = TOKEN_S, workers: int = 1
) -> BatchLatencyModel:
    """A model whose warm-up ran 10 tokens and 160."""
    latency = BatchLatencyModel(workers)
    latency.seed([ran(tokens, (run_cost_tokens + tokens) * token_s) for tokens in (10, 160)])
    return latency


def metrics() -> SchedulerMetrics:
    return SchedulerMetrics(CollectorRegistry())


def check_counts(scheduler: Scheduler[Any]) -> None:
    """Every request that was admitted has ended in one way, or is open."""
    ended = scheduler.answered + scheduler.failed + sum(scheduler.dropped.values())
    assert scheduler.admitted == ended + len(scheduler.requests)


class SimulatedScheduler(Scheduler[Batch]):
    """A scheduler without threads: a coroutine is its worker, and a run takes the fake clock's time."""

    queue: RecordingQueue
    latency: BatchLatencyModel

    def __init__(self, model: FakeModel, **changed: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self.model = model
        limits = Settings(**{"threads": 1, **changed})
        queue = RecordingQueue(limits.max_batch_size, limits.max_batch_tokens, limits.max_wait_ms / 1e3)
        latency = measured_latency(workers=limits.threads)

        def make_worker(callbacks: SchedulerCallbacks[Batch], name: str) -> BatchWorker:
            return BatchWorker(callbacks, name, queue, latency, model.infer, model.warmup_batches)

        super().__init__("fake", limits, queue, latency, make_worker, metrics(), clock_s=self._loop.time)
        self.worker = make_worker(self, "fake")
        self.pool._loop = self._loop
        self.pool.workers.append(self.worker)
        self.working = self._loop.create_task(self.work())

    async def work(self) -> None:
        while True:
            batch = self.worker.schedule(wait=False)
            if batch is None:
                await asyncio.sleep(TOKEN_S)
                continue
            self.worker.run(batch)
            self.worker.batch = batch
            await asyncio.sleep(batch.duration_s)
            self.worker.batch = None

    def on_done(self, sequences: list[Sequence], report: Batch, ended_s: float) -> None:
        report.duration_s = self.model.duration_s(report)
        ended_s += report.duration_s
        self._loop.call_at(ended_s, self._deliver, sequences, report, ended_s)


async def submit_at_random(scheduler: Scheduler[Any], draw: random.Random, ends: list[str]) -> None:
    """Submits a request drawn at random, checks how it ends, and adds that to `ends`."""
    fails = draw.random() < 0.03
    texts = [
        [draw.randrange(100, 10**6)] * draw.randrange(1, 60)
        for _ in range(draw.choice([1, 1, 1, 1, 1, 1, 2, 8]))
    ]
    if fails:
        texts[-1] = [FAILS] * draw.randrange(1, 60)
    begun_s = scheduler.clock_s()
    deadline_s = begun_s + draw.choice([0.01, 0.1, 1.0, 10.0, 10.0])
    patience_s = draw.choice([0.001, 0.05, 0.3, 60.0, 60.0, 60.0])

    async def receive() -> dict[str, str]:
        await asyncio.sleep(patience_s)
        return {"type": "http.disconnect"}

    of_request = context(deadline_s, receive)
    submitting = scheduler.submit([sequence(token_ids) for token_ids in texts], of_request)
    handler = asyncio.ensure_future(submitting)
    if draw.random() < 0.02:
        asyncio.get_running_loop().call_later(draw.random(), handler.cancel)
    try:
        answers = await handler
        assert answers == [tuple(token_ids) for token_ids in texts] and not fails
        assert scheduler.clock_s() <= deadline_s
        taken_s = scheduler.clock_s() - begun_s
        assert of_request.phases_s["queue"] + of_request.phases_s["inference"] <= taken_s + 1e-6
        ends.append("answered")
    except InferenceFailed as error:
        assert fails and isinstance(error.__cause__, StopIteration)
        ends.append("failed")
    except DeadlineExceeded:
        # Either it has passed, or a run that began now would end after it.
        longest_run_s = (RUN_COST_TOKENS + scheduler.queue.max_batch_tokens) * TOKEN_S
        assert scheduler.clock_s() >= deadline_s - longest_run_s - 1e-6
        ends.append("deadline_passed")
    except Disconnected:
        assert scheduler.clock_s() - begun_s >= patience_s - 1e-6
        ends.append("disconnected")
    except Refusal:
        assert scheduler.clock_s() == begun_s, "a refusal takes no time"
        ends.append("refused")
    except asyncio.CancelledError:
        ends.append("cancelled")
