"""One simulator of both schedulers: a coroutine is the worker, and its runs take time of a fake clock."""

import asyncio
import random
import selectors
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from fake_workers import (
    FAILS,
    FOREVER_S,
    RUN_COST_TOKENS,
    TOKEN_S,
    FakeModel,
    FakeTranslator,
    RecordingQueue,
    context,
    metrics,
    ran,
    sequence,
)

from dynamic_batching.batch_worker import BatchWorker
from dynamic_batching.config import Settings
from dynamic_batching.decode_worker import LONG_TOKENS, DecodeWorker
from dynamic_batching.latency_model import BatchLatencyModel, DecodeLatencyModel, LatencyModel
from dynamic_batching.prefill_worker import PrefillWorker
from dynamic_batching.queue import RequestQueue
from dynamic_batching.scheduler import MakeWorker, Scheduler
from dynamic_batching.sequence import Batch, Sequence, Steps
from dynamic_batching.web.errors import DeadlineExceeded, Disconnected, Refusal
from dynamic_batching.worker import InferenceFailed, SchedulerCallbacks, Worker


class FakeClock(selectors.DefaultSelector):
    """Time stands still while anything can run, then jumps to the next timer."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(timeout if timeout is None else 0)
        self.now_s += 0 if events else timeout or 0
        return events


def fake_clock_loop() -> asyncio.AbstractEventLoop:
    clock = FakeClock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now_s  # type: ignore[method-assign]
    return loop


def run_fake(main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=fake_clock_loop) as runner:
        return runner.run(main)


class CoroutineThread(threading.Thread):
    """In place of a worker's thread."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        super().__init__()
        self.work = work

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self.work())


class SimulatedScheduler(Scheduler[Any]):
    """Its one worker starts warm, and takes turns: `take_turn` works on what waits, in no time at all.

    How long that takes is added after it, to what the worker reports and to when it reports it.
    """

    def __init__(
        self,
        limits: Settings,
        queue: RequestQueue,
        latency: LatencyModel[Any],
        make_worker: MakeWorker[Any],
        measured: list[Any],
        take_turn: Callable[[Any], float],
    ) -> None:
        """`measured` is what warm-up reports; `take_turn` returns how long the turn takes, in seconds."""

        def make_simulated(callbacks: SchedulerCallbacks[Any], name: str) -> Worker[Any]:
            worker = make_worker(callbacks, name)

            async def work() -> None:
                callbacks.on_warm(worker, measured)
                while True:
                    await asyncio.sleep(take_turn(worker))

            worker.thread = CoroutineThread(work)
            return worker

        clock_s = asyncio.get_running_loop().time
        super().__init__("fake", limits, queue, latency, make_simulated, metrics(), clock_s=clock_s)

    @property
    def worker(self) -> Any:
        return self.pool.workers[0]

    def on_done(self, sequences: list[Sequence], report: Batch | Steps, ended_s: float) -> None:
        seconds = add_duration(report)
        report_done = super().on_done
        asyncio.get_running_loop().call_later(seconds, report_done, sequences, report, ended_s + seconds)


def add_duration(report: Batch | Steps) -> float:
    """The seconds from a turn to its report, which gets those of its run or steps."""
    if isinstance(report, Batch):
        report.duration_s = (RUN_COST_TOKENS + report.tokens) * TOKEN_S
        return report.duration_s
    report.seconds = [TOKEN_S] * len(report.rows)
    return TOKEN_S


def take_batch_turn(worker: BatchWorker) -> float:
    worker.batch = None
    batch = worker.schedule(wait=False)
    if batch is None:
        return TOKEN_S
    worker.run(batch)
    worker.batch = batch
    return batch.duration_s


def take_decode_turn(worker: Any) -> float:
    if worker.schedule(wait=False):
        assert worker.running == worker.decoder.rows.keys()
        worker.step_and_report()
    else:
        worker.running_since_s = None
    return TOKEN_S


class SimulatedPrefill(PrefillWorker):
    """One without a thread: each text is encoded in the time of as many steps as it has tokens."""

    def submit(self, sequence: Sequence) -> None:
        self.sequences.add(sequence)
        asyncio.get_running_loop().call_later(len(sequence.source) * TOKEN_S, self.encode, sequence)


async def batching(model: FakeModel, **changed: Any) -> SimulatedScheduler:
    """A started scheduler of batches."""
    limits = Settings(**{"threads": 1, **changed})
    queue = RecordingQueue(limits.max_batch_size, limits.max_batch_tokens, limits.max_wait_ms / 1e3)
    latency = BatchLatencyModel(limits.threads)

    def make_worker(callbacks: SchedulerCallbacks[Batch], name: str) -> BatchWorker:
        return BatchWorker(callbacks, name, queue, latency, model.infer, model.warmup_batches)

    measured = [ran(tokens, (RUN_COST_TOKENS + tokens) * TOKEN_S) for tokens in (10, 160)]
    scheduler = SimulatedScheduler(limits, queue, latency, make_worker, measured, take_batch_turn)
    await scheduler.start()
    return scheduler


async def decoding(long_tokens: int = LONG_TOKENS, **changed: Any) -> SimulatedScheduler:
    """A started scheduler that decodes in slots."""
    limits = Settings(**{"threads": 1, **changed})
    queue, latency, make_decode_worker = decoding_parts(limits, long_tokens)

    def make_worker(callbacks: SchedulerCallbacks[Steps], name: str) -> DecodeWorker:
        worker = make_decode_worker(callbacks, name)
        worker.prefill = SimulatedPrefill(worker.decoder.encode, lambda: None, callbacks.clock_s, name)
        return worker

    measured = [Steps(rows=[1], seconds=[TOKEN_S])]
    scheduler = SimulatedScheduler(limits, queue, latency, make_worker, measured, take_decode_turn)
    await scheduler.start()
    return scheduler


def threaded_decoding(long_tokens: int = LONG_TOKENS, **changed: Any) -> Scheduler[Steps]:
    """A scheduler with real workers of 8 slots, not started."""
    limits = Settings(**{"threads": 1, "max_batch_size": 8, **changed})
    return Scheduler("fake", limits, *decoding_parts(limits, long_tokens), metrics())


def decoding_parts(
    limits: Settings, long_tokens: int
) -> tuple[RequestQueue, DecodeLatencyModel, Callable[..., DecodeWorker]]:
    """What a scheduler that decodes with the fake translator is made of."""
    queue = RequestQueue(limits.max_batch_size, limits.max_prefill_tokens)
    model = FakeTranslator(limits.max_batch_size)

    def make_worker(callbacks: SchedulerCallbacks[Steps], name: str) -> DecodeWorker:
        return DecodeWorker(callbacks, name, queue, model, limits.threads, long_tokens)

    return queue, DecodeLatencyModel(limits.threads, limits.max_batch_size), make_worker


def submit(
    scheduler: Scheduler[Any], *texts: list[int], deadline_s: float = FOREVER_S, num_beams: int = 1
) -> asyncio.Future[list[Any]]:
    sequences = [sequence(token_ids, num_beams) for token_ids in texts]
    return asyncio.ensure_future(scheduler.submit(sequences, context(deadline_s)))


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
