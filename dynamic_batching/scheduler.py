"""One task's scheduler: requests go in one by one on the event loop, engine threads run them together.

An engine takes what waits itself, under a lock, the moment it has room; its answers come back to the event
loop, those of one run in one call. Whatever a request ends by, it ends here, once, on the event loop.
"""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from starlette.types import Receive

from .admission import Admission
from .batch_cost import BatchCost
from .batch_engine import BatchEngine
from .batch_metrics import BatchMetrics
from .batch_queue import BatchQueue
from .config import Settings
from .decode_cost import DecodeCost
from .decode_engine import DecodeEngine
from .engine import Engine
from .engine_pool import EnginePool
from .errors import DEADLINE_PASSED, DeadlineExceeded, Disconnected, EngineLost, NotReady
from .hang_ups import HangUps
from .job import Done, Job, Text
from .telemetry import RequestClock
from .trace import Trace


class Batcher:
    """Answers the requests of one task. Its methods are for the event loop, but for those named `on_...`.

    With `slots`, texts are decoded token by token and join and leave between any two steps; else they run
    as batches from beginning to end.
    """

    def __init__(
        self,
        task: str,
        model: Any,
        settings: Settings,
        max_batch_tokens: int,
        metrics: BatchMetrics,
        clock_s: Callable[[], float] = time.perf_counter,
        slots: bool = False,
        trace: Trace | None = None,
    ) -> None:
        self.task = task
        self.model = model
        self.clock_s = clock_s
        self.slots = slots
        self.queue = BatchQueue(settings.max_batch_size, max_batch_tokens, settings.max_wait_ms / 1e3)
        self.work = threading.Condition(threading.Lock())
        self.idle = 0
        engines = settings.threads
        self.cost: Any = DecodeCost(engines, settings.max_batch_size) if slots else BatchCost(engines)
        self.admission = Admission(self.queue, self.cost, settings.queue_size, settings.max_queue_tokens)
        self.admitted = self.answered = self.failed = 0
        self.dropped: Counter[str] = Counter(deadline_passed=0, disconnected=0, draining=0)
        self.jobs: set[Job] = set()
        self.pool = EnginePool(self, task, settings.threads, settings.engine_stall_ms / 1e3)
        self._metrics = metrics
        self._trace = trace
        self.expected = 0
        self._hang_ups = HangUps(self._drop_hung_up)
        metrics.observe(self)

    async def start(self) -> None:
        """Starts the engines and waits until all are warm; RuntimeError where a warm-up fails or hangs."""
        self._loop = asyncio.get_running_loop()
        await self.pool.start()

    def refusal(self, clock: RequestClock, expected: int = 0) -> NotReady | None:
        """What `infer` would raise for a text as long as those that wait, before it is read; else None."""
        if not self.pool.engines:
            return self._no_engine()
        now_s = self.clock_s()
        with self.work:
            return self.admission.refusal(clock.deadline_s - now_s, self._load(now_s), expected)

    def expect(self) -> None:
        """A request was let in; its task starts in this turn of the event loop, until then it is expected.

        Many arrive in one turn of a busy loop. Judged by the queue alone, all would be let in.
        """
        self.expected += 1
        self._loop.call_soon(self._expect_no_more)

    def _expect_no_more(self) -> None:
        self.expected -= 1

    async def infer(
        self,
        tokens: list[list[int]],
        clock: RequestClock,
        receive: Receive | None = None,
        num_beams: int = 1,
    ) -> list[Any]:
        """The answers to the texts of a request in order; what it waited and computed is added to `clock`.

        With `receive`, a request whose client hangs up is dropped. A request is admitted whole or refused
        whole.

        Raises:
            Overloaded, NotReady: the request was refused, or the server drained before its turn came.
            DeadlineExceeded, Disconnected, EngineLost: it was admitted, then dropped or failed.
            InferenceFailed: the model fails on a text of it.
        """
        if not self.pool.engines:
            raise self._no_engine()
        now_s = self.clock_s()
        remaining_s = clock.deadline_s - now_s
        job = Job(tokens, clock.deadline_s, num_beams)
        with self.work:
            self.admission.check([len(ids) for ids in tokens] * num_beams, remaining_s, self._load(now_s))
            self.queue.push(job, now_s)
            if self.idle:
                self.work.notify()
        self.admitted += 1
        self.jobs.add(job)
        job.answers = [None] * len(tokens)
        job.missing = len(tokens)
        job.future = self._loop.create_future()
        job.timer = self._loop.call_later(remaining_s, self._drop_expired, [job])
        if receive is not None:
            self._hang_ups.watch(job, receive)
        self.pool.watch()
        try:
            return await job.future
        except asyncio.CancelledError:
            # Whoever serves the request gave it up: the server, out of patience, as it stops.
            self._drop(job, "draining" if self.admission.draining else "disconnected", Disconnected(None))
            raise
        finally:
            if job.started_s is None:
                clock.add("queue", self.clock_s() - now_s)
            else:
                clock.add("queue", job.started_s - now_s)
                clock.add("inference", max(0.0, job.ended_s - job.started_s))

    def drain(self, timeout_s: float) -> None:
        """Admits nothing from now on; what is not answered after `timeout_s` is dropped."""
        if not self.admission.draining:
            self.admission.draining = True
            self._loop.call_later(timeout_s, self._drop_all)
            with self.work:
                self.queue.max_wait_s = 0.0
                self.work.notify_all()

    def close(self) -> None:
        """Drops what is left and ends the engines; one that hangs is left behind."""
        self.admission.draining = True
        self._drop_all()
        self._hang_ups.close()
        self.pool.close()

    # What engines report, on their threads.

    def make_engine(self, name: str) -> Engine:
        return DecodeEngine(self, name) if self.slots else BatchEngine(self, name)

    def rows(self) -> int:
        """What all engines work on, in slots."""
        return sum(text.job.num_beams for engine in self.pool.engines for text in engine.texts)

    def on_warm(self, engine: Engine, measured: list[Any]) -> None:
        self._post(self._note_warm, engine, measured)

    def on_expired(self, jobs: list[Job]) -> None:
        self._post(self._drop_expired, jobs)

    def on_done(self, done: list[Done], run: Any, ended_s: float) -> None:
        self._post(self._deliver, done, run, ended_s)

    def on_ended(self, engine: Engine, error: BaseException | None) -> None:
        self._post(self.pool.note_ended, engine, error)

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    # How a request ends: _deliver, _fail or _drop, whichever comes first.

    def _deliver(self, done: list[Done], run: Any, ended_s: float) -> None:
        """What ended in a run, a Batch or Steps, which tells what work takes."""
        now_s = self.clock_s()
        self.pool.note_done()
        self.cost.observe(run)
        self._metrics.record(self.task, run)
        if self._trace is not None:
            self._trace.write(self.task, done, run, ended_s)
        for (job, position, _), outcome, started_s in done:
            if not job.open:
                continue
            job.started_s = started_s if job.started_s is None else min(job.started_s, started_s)
            job.ended_s = ended_s
            if isinstance(outcome, DeadlineExceeded) or job.deadline_s <= now_s:
                self._drop(job, "deadline_passed", DeadlineExceeded(DEADLINE_PASSED))
            elif isinstance(outcome, Exception):
                self._fail(job, outcome)
            else:
                job.answers[position] = outcome
                job.missing -= 1
                if not job.missing:
                    self._close(job)
                    self.answered += 1
                    resolve(job, None)

    def _fail(self, job: Job, error: Exception) -> None:
        if job.open:
            self._close(job)
            self.failed += 1
            resolve(job, error)

    def _drop(self, job: Job, cause: str, error: Exception) -> None:
        if job.open:
            self._close(job)
            self.dropped[cause] += 1
            resolve(job, error)

    def _drop_expired(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._drop(job, "deadline_passed", DeadlineExceeded(DEADLINE_PASSED))

    def _drop_hung_up(self, job: Job) -> None:
        self._drop(job, "disconnected", Disconnected("the client hung up"))

    def _drop_all(self) -> None:
        for job in list(self.jobs):
            self._drop(job, "draining", NotReady("not ready: draining"))

    def _close(self, job: Job) -> None:
        job.open = False
        self.jobs.remove(job)
        if job.timer is not None:
            job.timer.cancel()
        self._hang_ups.forget(job)
        if job.missing:
            with self.work:
                self.queue.drop(job)

    def _note_warm(self, engine: Engine, measured: list[Any]) -> None:
        if not any(engine.warm for engine in self.pool.engines):
            self.cost.seed(measured)
        self.pool.note_warm(engine)

    def on_lost(self, texts: list[Text]) -> None:
        """On the event loop: fails what a lost engine was at, and where none is left all that waits."""
        # An engine lost in its warm-up was at a job that nobody asked for.
        lost = self.jobs.intersection(text.job for text in texts) if self.pool.engines else {*self.jobs}
        for job in lost:
            self._fail(job, EngineLost())

    def _no_engine(self) -> NotReady:
        self.admission.refused["no_engine"] += 1
        return NotReady(f"not ready: no {self.task} engine works")

    def _load(self, now_s: float) -> float:
        """What the engines are at: the rows of all in slots, or seconds until the first of them is free."""
        loads = [engine.load(now_s) for engine in self.pool.engines]
        return sum(loads) if self.slots else min(loads, default=0.0)


def resolve(job: Job, error: Exception | None) -> None:
    """Ends the wait for a job, unless nobody waits any more."""
    assert job.future is not None
    if job.future.done():
        return
    if error is None:
        job.future.set_result(job.answers)
    else:
        job.future.set_exception(error)
