"""One task's scheduler: requests go in one by one on the event loop, worker threads run them together.

A worker schedules what waits itself, under the queue's lock, the moment it is free; outcomes come back to the
event loop, those of one run in one call. Whatever a request ends by, it ends here, once, on the event loop.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Generic

from .admission import Admission
from .config import Settings
from .disconnects import Disconnects
from .latency_model import LatencyModel, Load, Report
from .queue import RequestQueue
from .scheduler_metrics import SchedulerMetrics
from .sequence import Request, Sequence
from .trace import Trace
from .web.errors import DeadlineExceeded, Disconnected, NotReady, Refusal
from .web.request_context import RequestContext
from .worker import SchedulerCallbacks, Worker
from .worker_pool import WorkerLost, WorkerPool

MakeWorker = Callable[[SchedulerCallbacks[Report], str], Worker[Report]]


class Scheduler(Generic[Report]):
    """Answers the requests of one task. Its methods are for the event loop, but for those of its workers.

    Of `dropped` requests, by cause, and of all others that were `admitted`, each is `answered`, `failed`, or
    one of `requests`, which wait or run.
    """

    def __init__(
        self,
        task: str,
        settings: Settings,
        queue: RequestQueue,
        latency: LatencyModel[Report],
        make_worker: MakeWorker[Report],
        metrics: SchedulerMetrics,
        trace: Trace | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.task = task
        self.queue = queue
        self.latency = latency
        self.clock_s = clock_s
        self.admission = Admission(queue, latency, settings.queue_size, settings.max_queue_tokens)
        self.admitted = self.answered = self.failed = 0
        self.dropped: Counter[str] = Counter(deadline_passed=0, disconnected=0, draining=0)
        self.requests: set[Request] = set()
        self.pool = WorkerPool(
            task,
            settings.threads,
            settings.worker_stall_ms / 1e3,
            queue,
            lambda name: make_worker(self, name),
            self._fail_lost,
            clock_s,
        )
        self._metrics = metrics
        self._trace = trace
        self._expected = 0
        self._closed = False
        self._disconnects = Disconnects(lambda request: self._drop(request, "disconnected", Disconnected()))
        metrics.watch(self)

    async def start(self) -> None:
        """Starts the workers and waits until all are warm; RuntimeError where a warm-up fails or hangs."""
        self._loop = asyncio.get_running_loop()
        await self.pool.start()

    def refusal_at_header(self, deadline_s: float) -> Refusal | None:
        """Why a request is not even read; else it is expected until its task starts in this turn of the loop.

        Many arrive in one turn of a busy loop. Judged by the queue alone, all would be let in.
        """
        if not self.pool.workers:
            return self._no_worker()
        now_s = self.clock_s()
        with self.queue.lock:
            load = self._load(now_s)
            refusal = self.admission.refusal_at_header(deadline_s - now_s, load, self._expected)
        if refusal is None:
            self._expected += 1
            self._loop.call_soon(self._expect_one_less)
        return refusal

    async def submit(self, sequences: list[Sequence], context: RequestContext) -> list[Any]:
        """The answers to the sequences of a request in order; `context` gets what it waited and computed.

        It is admitted whole or refused whole, and dropped where its client disconnects.

        Raises:
            Refusal: it was refused, or the server stops.
            DeadlineExceeded, Disconnected, WorkerLost: it was admitted, then dropped or failed.
            InferenceFailed: the model fails on a text of it.
        """
        now_s = self.clock_s()
        remaining_s = context.deadline_s - now_s
        lengths = [len(one.source) for one in sequences for _ in range(one.num_beams)]
        with self.queue.lock:
            # Only now are its lengths known.
            if refusal := self._refusal(lengths, remaining_s, self._load(now_s)):
                raise refusal
            request = Request(sequences, context.deadline_s, unfinished=len(sequences))
            for sequence in sequences:
                sequence.request = request
            self.queue.push(request, now_s)
        self.admitted += 1
        self.requests.add(request)
        request.future = self._loop.create_future()
        request.timer = self._loop.call_later(remaining_s, self._drop_expired, [request])
        if context.receive is not None:
            self._disconnects.watch(request, context.receive)
        self.pool.watch()
        try:
            await request.future
        except asyncio.CancelledError:
            # The server gave it up as it stops.
            self._drop(request, "draining", Disconnected())
            raise
        finally:
            if request.started_s is None:
                context.add("queue", self.clock_s() - now_s)
            else:
                context.add("queue", request.started_s - now_s)
                context.add("inference", max(0.0, request.ended_s - request.started_s))
        return [sequence.outcome for sequence in sequences]

    def close(self) -> None:
        """Drops what is left and ends the workers; one that hangs is left behind."""
        self._closed = True
        for request in [*self.requests]:
            self._drop(request, "draining", NotReady("draining"))
        self._disconnects.close()
        self.pool.close()

    # What workers ask and tell, on their threads.

    def running_slots(self) -> int:
        return sum(worker.slots for worker in self.pool.workers)

    def on_warm(self, worker: Worker[Report], measured: list[Report]) -> None:
        self._post(self._note_warm, worker, measured)

    def on_expired(self, requests: list[Request]) -> None:
        self._post(self._drop_expired, requests)

    def on_done(self, sequences: list[Sequence], report: Report, ended_s: float) -> None:
        self._post(self._deliver, sequences, report, ended_s)

    def on_exit(self, worker: Worker[Report], error: BaseException | None) -> None:
        self._post(self.pool.note_exit, worker, error)

    def _post(self, call: Callable[..., None], *arguments: Any) -> None:
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    # How a request ends: _deliver, _fail or _drop, whichever comes first.

    def _deliver(self, sequences: list[Sequence], report: Report, ended_s: float) -> None:
        """What ended in a run or some steps, and the report of them, which tells what work takes."""
        now_s = self.clock_s()
        self.pool.note_done()
        self.latency.observe(report)
        self._metrics.record(self.task, report)
        if self._trace is not None:
            self._trace.write(self.task, sequences, report, ended_s)
        for sequence in sequences:
            request, outcome, started_s = sequence.request, sequence.outcome, sequence.scheduled_s
            if not request.open:
                continue
            request.started_s = started_s if request.started_s is None else min(request.started_s, started_s)
            request.ended_s = ended_s
            if isinstance(outcome, DeadlineExceeded) or request.deadline_s <= now_s:
                self._drop(request, "deadline_passed", DeadlineExceeded())
            elif isinstance(outcome, Exception):
                self._fail(request, outcome)
            else:
                request.unfinished -= 1
                if not request.unfinished:
                    self.answered += 1
                    self._end(request, None)

    def _fail(self, request: Request, error: Exception) -> None:
        if request.open:
            self.failed += 1
            self._end(request, error)

    def _drop(self, request: Request, cause: str, error: Exception) -> None:
        if request.open:
            self.dropped[cause] += 1
            self._end(request, error)

    def _drop_expired(self, requests: list[Request]) -> None:
        for request in requests:
            self._drop(request, "deadline_passed", DeadlineExceeded())

    def _fail_lost(self, sequences: list[Sequence]) -> None:
        """Fails what a lost worker was at, warm-ups aside, and drops where none is left all that waits."""
        for request in self.requests.intersection(one.request for one in sequences):
            self._fail(request, WorkerLost())
        for request in [] if self.pool.workers else [*self.requests]:
            self._drop(request, "draining", NotReady(f"no {self.task} worker works"))

    def _end(self, request: Request, error: Exception | None) -> None:
        request.open = False
        # They hold the request: a cycle that only a collection would free.
        request.sequences = []
        self.requests.remove(request)
        if request.timer is not None:
            request.timer.cancel()
        self._disconnects.forget(request)
        if request.unfinished:
            with self.queue.lock:
                self.queue.drop(request)
        if request.future is not None and not request.future.done():
            if error is None:
                request.future.set_result(None)
            else:
                request.future.set_exception(error)

    def _note_warm(self, worker: Worker[Report], measured: list[Report]) -> None:
        if not any(worker.warm for worker in self.pool.workers):
            self.latency.seed(measured)
        self.pool.note_warm(worker)

    def _refusal(self, lengths: list[int], remaining_s: float, load: Load) -> Refusal | None:
        if self._closed:
            return NotReady("draining")
        if not self.pool.workers:
            return self._no_worker()
        return self.admission.refusal(lengths, remaining_s, load)

    def _no_worker(self) -> Refusal:
        self.admission.refused["no_worker"] += 1
        return NotReady(f"no {self.task} worker works")

    def _load(self, now_s: float) -> Load:
        free_in_s = min((worker.free_in_s(now_s) for worker in self.pool.workers), default=0.0)
        return Load(free_in_s, self.running_slots())

    def _expect_one_less(self) -> None:
        self._expected -= 1
