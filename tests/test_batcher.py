"""The scheduler with a fake model and a fake clock: who leaves with whom, and that every request ends."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dynamic_batching.batch_engine import BatchEngine
from dynamic_batching.batch_metrics import BatchMetrics
from dynamic_batching.batch_queue import BatchQueue
from dynamic_batching.batcher import Batcher
from dynamic_batching.config import Settings
from dynamic_batching.engine_pool import MAX_LOST_ENGINES
from dynamic_batching.errors import (
    DeadlineExceeded,
    Disconnected,
    EngineLost,
    InferenceFailed,
    NotReady,
    Overloaded,
)
from dynamic_batching.job import Batch, Done, Job
from dynamic_batching.lifecycle import Lifecycle

FOREVER_S = float("inf")
POISON = 13
WEDGE = 66
DEADLY = 99
TOKEN_S = 0.001
RUN_COST_TOKENS = 12


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


class FakeModel:
    """Answers a text with its own tokens; some token ids fail, hang or end the thread."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.unwedge = threading.Event()
        self.reached = threading.Event()

    def tokenize(self, text: str, where: list[str | int]) -> list[int]:
        return [ord(character) for character in text]

    def warmup_batches(self) -> list[list[list[int]]]:
        return [[[1, 2, 3]]]

    def infer(self, batch: list[list[int]]) -> list[Any]:
        self.batches.append(batch)
        first = {token_ids[0] for token_ids in batch}
        if WEDGE in first:
            self.reached.set()
            self.unwedge.wait()
        if DEADLY in first:
            raise SystemExit
        if POISON in first:
            raise StopIteration("poison")
        return [tuple(token_ids) for token_ids in batch]

    def duration_s(self, batch: Batch) -> float:
        return (RUN_COST_TOKENS + batch.tokens) * TOKEN_S


class FakeClock:
    """What `infer` needs of a request's clock."""

    def __init__(self, deadline_s: float = FOREVER_S) -> None:
        self.deadline_s = deadline_s
        self.phases_s: Counter[str] = Counter()

    def add(self, name: str, seconds: float) -> None:
        self.phases_s[name] += seconds  # type: ignore[assignment]


class RecordingQueue(BatchQueue):
    """Notes each batch that is formed, and breaks the test where one must not have been."""

    batches: list[Batch]
    bounds: dict[tuple[Job, int], int]

    def push(self, job: Job, now_s: float) -> None:
        if not hasattr(self, "batches"):
            self.batches, self.bounds = [], {}
        for position in range(len(job.tokens)):
            self.bounds[job, position] = len(self.batches) + self.texts + position + 1
        super().push(job, now_s)

    def form(
        self, now_s: float, run_s: float = 0.0, room: int | None = None
    ) -> tuple[Batch | None, list[Job]]:
        until_s = now_s + run_s
        waiting = [text for text in self._waiting if not text.job.dropped and text.job.deadline_s > until_s]
        batch, expired = super().form(now_s, run_s, room)
        assert all(job.deadline_s <= until_s for job in expired)
        if batch is None:
            assert not waiting
            return batch, expired
        self.batches.append(batch)
        assert len(batch.texts) <= self.max_batch_size
        assert batch.texts == waiting[: len(batch.texts)], "first come, first served"
        assert batch.tokens == sum(length for _, _, length in batch.texts)
        assert batch.tokens <= self.max_batch_tokens or len(batch.texts) == 1
        for job, position, _ in batch.texts:
            assert job.open and not job.dropped and job.deadline_s > now_s
            assert len(self.batches) <= self.bounds.pop((job, position)), "a text waits past its bound"
        return batch, expired


class SimulatedBatcher(Batcher):
    """A batcher without threads: a coroutine is its engine, and a run takes the fake clock's time."""

    def __init__(self, model: FakeModel, **changed: Any) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(
            "fake",
            model,
            settings := Settings(**{"threads": 1, **changed}),
            settings.max_batch_tokens,
            BatchMetrics(CollectorRegistry()),
            self.loop.time,
        )
        self.fake = model
        self._loop = self.loop
        self.queue.__class__ = RecordingQueue
        self.engine = BatchEngine(self, "fake")
        self.pool._loop = self.loop
        self.pool.engines.append(self.engine)
        self.cost.seed([(10, 22 * TOKEN_S), (100, 112 * TOKEN_S)])
        self.working = self.loop.create_task(self.work_on())

    async def work_on(self) -> None:
        while True:
            batch = self.engine.take(wait=False)
            if batch is None:
                await asyncio.sleep(TOKEN_S)
                continue
            self.engine.run(batch)
            self.engine.batch = batch
            await asyncio.sleep(batch.duration_s)
            self.engine.batch = None

    def on_done(self, done: list[Done], run: Any, ended_s: float) -> None:
        run.duration_s = self.fake.duration_s(run)
        ended_s += run.duration_s
        self.loop.call_at(ended_s, self._deliver, done, run, ended_s)

    def check_counts(self) -> None:
        ended = self.answered + self.failed + sum(self.dropped.values())
        assert self.admitted == ended + len(self.jobs)


def request(tokens: list[int], *more: list[int], **times: float) -> Job:
    return Job([tokens, *more], times.get("deadline_s", FOREVER_S))


# Which texts leave together.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    max_size=st.integers(1, 9),
    max_tokens=st.integers(4, 400),
)
def test_no_text_waits_for_more_batches_than_texts_were_before_it(
    seed: int, max_size: int, max_tokens: int
) -> None:
    draw = random.Random(seed)
    queue = RecordingQueue(max_size, max_tokens)
    waiting: dict[Job, int] = {}
    left: Counter[Job] = Counter()
    for now_s in range(300):
        for _ in range(draw.randrange(4)):
            texts = [[1] * draw.randrange(1, 60) for _ in range(draw.choice([1, 1, 1, 5]))]
            job = request(*texts, deadline_s=now_s + draw.choice([1, 20, FOREVER_S]))
            queue.push(job, now_s)
            waiting[job] = len(texts)
        if waiting and draw.random() < 0.2:
            job = draw.choice(list(waiting))
            queue.drop(job)
            del waiting[job]
        batch, expired = queue.form(now_s)
        for job in expired:
            del waiting[job]
        for job, _, _ in batch.texts if batch else []:
            left[job] += 1
            assert left[job] <= len(job.tokens)
            if job in waiting:
                waiting[job] -= 1
                if not waiting[job]:
                    del waiting[job]
        assert (queue.requests, queue.texts) == (len(waiting), sum(waiting.values()))
        assert queue.tokens == sum(job.queued_tokens for job in waiting)
    while queue.texts:
        queue.form(300)
    assert (queue.requests, queue.tokens) == (0, 0)


def test_what_would_end_after_its_deadline_is_dropped_before_it_runs() -> None:
    queue = BatchQueue(8, 2_048)
    late, timely = request([1], deadline_s=10.9), request([1], deadline_s=11.1)
    queue.push(late, 10.0)
    queue.push(timely, 10.0)
    batch, expired = queue.form(10.0, run_s=1.0)
    assert batch is not None and [text.job for text in batch.texts] == [timely]
    assert expired == [late] and late.dropped and queue.requests == 0


def test_a_batch_takes_no_more_texts_than_there_is_room_for() -> None:
    queue = BatchQueue(8, 2_048)
    for _ in range(5):
        queue.push(request([1]), 0.0)
    batch, _ = queue.form(0.0, room=3)
    assert batch is not None and len(batch.texts) == 3 and queue.texts == 2


def test_dropped_texts_do_not_pile_up() -> None:
    queue = BatchQueue(8, 2_048)
    for _ in range(1_000):
        job = request([1])
        queue.push(job, 0.0)
        queue.drop(job)
    assert len(queue._waiting) < 100


def test_the_wait_for_more_begins_with_the_first_text() -> None:
    queue = BatchQueue(3, 2_048, max_wait_s=5.0)
    assert queue.due_s() == FOREVER_S
    first = request([1])
    queue.push(first, 10.0)
    queue.push(request([1]), 14.0)
    assert queue.due_s() == 15.0
    queue.drop(first)
    assert queue.due_s() == 19.0
    queue.push(request([1]), 14.0)
    queue.push(request([1]), 14.0)
    assert queue.due_s() < 14.0, "a full batch waits for nothing"


def test_without_a_wait_a_batch_is_due_at_once() -> None:
    queue = BatchQueue(3, 2_048)
    queue.push(request([1]), 10.0)
    assert queue.due_s() == 10.0


# Every request ends, with its own answer or a reason.


async def serve(batcher: SimulatedBatcher, draw: random.Random, ends: list[str]) -> None:
    poisoned = draw.random() < 0.03
    texts = [
        [draw.randrange(100, 10**6)] * draw.randrange(1, 60)
        for _ in range(draw.choice([1, 1, 1, 1, 1, 1, 2, 8]))
    ]
    if poisoned:
        texts[-1] = [POISON] * draw.randrange(1, 60)
    deadline_s = batcher.clock_s() + draw.choice([0.01, 0.1, 1.0, 10.0, 10.0])
    patience_s = draw.choice([0.001, 0.05, 0.3, 60.0, 60.0, 60.0])

    async def receive() -> dict[str, str]:
        await asyncio.sleep(patience_s)
        return {"type": "http.disconnect"}

    clock = FakeClock(deadline_s)
    begun_s = batcher.clock_s()
    handler = asyncio.ensure_future(batcher.infer(texts, clock, receive))  # type: ignore[arg-type]
    if draw.random() < 0.02:
        batcher.loop.call_later(draw.random(), handler.cancel)
    try:
        answers = await handler
        assert answers == [tuple(token_ids) for token_ids in texts] and not poisoned
        assert batcher.clock_s() <= deadline_s
        taken_s = batcher.clock_s() - begun_s
        assert clock.phases_s["queue"] + clock.phases_s["inference"] <= taken_s + 1e-6
        ends.append("answered")
    except InferenceFailed as error:
        assert poisoned and isinstance(error.__cause__, StopIteration)
        ends.append("failed")
    except DeadlineExceeded:
        # Either it has passed, or a run that began now would end after it.
        longest_run_s = (RUN_COST_TOKENS + batcher.queue.max_batch_tokens) * TOKEN_S
        assert batcher.clock_s() >= deadline_s - longest_run_s - 1e-6
        ends.append("deadline_passed")
    except Disconnected:
        assert batcher.clock_s() - begun_s >= patience_s - 1e-6
        ends.append("disconnected")
    except Overloaded:
        assert batcher.clock_s() == begun_s, "a refusal takes no time"
        ends.append("refused")
    except asyncio.CancelledError:
        ends.append("cancelled")


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    max_batch_size=st.sampled_from([1, 4, 64]),
    max_batch_tokens=st.sampled_from([50, 2_048]),
    max_wait_ms=st.sampled_from([0, 5]),
)
def test_two_thousand_requests_all_end_with_their_own_answer_or_a_reason(
    seed: int, max_batch_size: int, max_batch_tokens: int, max_wait_ms: int
) -> None:
    draw = random.Random(seed)

    async def main() -> tuple[SimulatedBatcher, list[str]]:
        batcher = SimulatedBatcher(
            FakeModel(),
            max_batch_size=max_batch_size,
            max_batch_tokens=max_batch_tokens,
            max_wait_ms=max_wait_ms,
            queue_size=100,
            max_queue_tokens=3_000,
        )
        ends: list[str] = []
        async with asyncio.TaskGroup() as serving:
            for _ in range(2_000):
                serving.create_task(serve(batcher, draw, ends))
                await asyncio.sleep(draw.expovariate(1 / 0.03) if draw.random() < 0.5 else 0)
                batcher.check_counts()
        batcher.working.cancel()
        return batcher, ends

    batcher, ends = run_fake(main())
    count = Counter(ends)
    assert len(ends) == 2_000 and not batcher.jobs
    assert (batcher.answered, batcher.failed) == (count["answered"], count["failed"])
    assert batcher.dropped["deadline_passed"] == count["deadline_passed"]
    assert sum(batcher.admission.refused.values()) == count["refused"]
    assert (batcher.queue.requests, batcher.queue.texts, batcher.queue.tokens) == (0, 0, 0)
    assert count["answered"] > 100 and count["refused"] and count["failed"] and count["disconnected"]


def test_a_failing_text_fails_alone() -> None:
    async def main() -> None:
        batcher = SimulatedBatcher(FakeModel())
        before_s = batcher.cost.token_s
        outcomes = await asyncio.gather(
            *(batcher.infer([[first] * 9], FakeClock()) for first in (1, POISON, 2, 3)),  # type: ignore[arg-type]
            return_exceptions=True,
        )
        assert [outcomes[index] for index in (0, 2, 3)] == [[(n,) * 9] for n in (1, 2, 3)]
        assert isinstance(outcomes[1], InferenceFailed)
        assert [len(batch) for batch in batcher.fake.batches] == [4, 1, 1, 1, 1]
        assert (batcher.answered, batcher.failed) == (3, 1)
        assert batcher.cost.token_s == before_s, "the speed is not that of runs which had to be repeated"
        batcher.working.cancel()

    run_fake(main())


def test_a_model_that_answers_too_few_texts_mixes_up_no_answers() -> None:
    class Short(FakeModel):
        def infer(self, batch: list[list[int]]) -> list[Any]:
            answers = super().infer(batch)
            return answers[1:] if len(batch) > 1 else answers

    async def main() -> None:
        batcher = SimulatedBatcher(Short())
        outcomes = await asyncio.gather(*(batcher.infer([[n] * 9], FakeClock()) for n in (1, 2, 3)))  # type: ignore[arg-type]
        assert outcomes == [[(n,) * 9] for n in (1, 2, 3)]
        batcher.working.cancel()

    run_fake(main())


def test_texts_that_wait_alone_for_their_retry_are_given_up_at_their_deadline() -> None:
    async def main() -> None:
        batcher = SimulatedBatcher(FakeModel())
        batcher.working.cancel()
        queue = BatchQueue(8, 100)
        late, poisoned = request([1] * 9), request([POISON] * 9)
        queue.push(late, 0.0)
        queue.push(poisoned, 0.0)
        batch, _ = queue.form(0.0)
        assert batch is not None
        late.deadline_s = -1.0
        reported: list[Done] = []
        batcher.on_done = lambda done, run, ended_s: reported.extend(done)  # type: ignore[method-assign]
        batcher.engine.run(batch)
        assert isinstance(reported[0].outcome, DeadlineExceeded)
        assert isinstance(reported[1].outcome, InferenceFailed)
        assert len(batcher.fake.batches) == 2

    run_fake(main())


def test_draining_answers_what_was_admitted_and_refuses_the_rest() -> None:
    async def main() -> None:
        batcher = SimulatedBatcher(FakeModel(), max_wait_ms=1_000_000)
        admitted = [asyncio.ensure_future(batcher.infer([[n] * 9], FakeClock())) for n in range(5)]  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert not any(future.done() for future in admitted)
        batcher.drain(timeout_s=60.0)
        with pytest.raises(NotReady, match="draining"):
            await batcher.infer([[1]], FakeClock())  # type: ignore[arg-type]
        assert await asyncio.gather(*admitted) == [[(n,) * 9] for n in range(5)]
        assert batcher.admission.refused["draining"] == 1
        batcher.working.cancel()

    run_fake(main())


def test_draining_has_an_end() -> None:
    async def main() -> None:
        batcher = SimulatedBatcher(FakeModel())
        batcher.working.cancel()
        admitted = asyncio.ensure_future(batcher.infer([[1]], FakeClock()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        batcher.drain(timeout_s=4.0)
        with pytest.raises(NotReady, match="draining"):
            await admitted
        assert batcher.clock_s() == pytest.approx(4.0)
        assert batcher.dropped["draining"] == 1
        batcher.check_counts()

    run_fake(main())


def test_a_batch_that_ends_late_gives_its_late_requests_no_answer() -> None:
    async def main() -> None:
        batcher = SimulatedBatcher(FakeModel(), threads=1)
        batcher.cost.token_s = batcher.cost.fastest_s = 1e-9  # so that the deadline seems within reach
        late = asyncio.ensure_future(batcher.infer([[1] * 9], FakeClock(0.015)))  # type: ignore[arg-type]
        early = asyncio.ensure_future(batcher.infer([[2] * 9], FakeClock(9.0)))  # type: ignore[arg-type]
        with pytest.raises(DeadlineExceeded):
            await late
        assert batcher.clock_s() == pytest.approx(0.015), "at the deadline, not at the batch's end"
        assert await early == [(2,) * 9]
        batcher.working.cancel()

    run_fake(main())


# Engines that hang or end. Real threads; the clock that says how long a batch runs is a fake one.


class Threaded:
    """A started batcher with real engines on a clock that only `now_s` moves."""

    def __init__(self, **changed: Any) -> None:
        self.now_s = 0.0
        self.model = FakeModel()
        self.batcher = Batcher(
            "fake",
            self.model,
            settings := Settings(**{"threads": 1, "engine_stall_ms": 1_000, **changed}),
            settings.max_batch_tokens,
            BatchMetrics(CollectorRegistry()),
            lambda: self.now_s,
        )

    def ask(self, first: int, deadline_s: float = 1e6) -> asyncio.Future[list[Any]]:
        clock: Any = FakeClock(deadline_s)
        return asyncio.ensure_future(self.batcher.infer([[first] * 9], clock))

    async def wedge(self, deadline_s: float = 1e6) -> asyncio.Future[list[Any]]:
        self.model.reached.clear()
        stuck = self.ask(WEDGE, deadline_s)
        await asyncio.to_thread(self.model.reached.wait)
        return stuck

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0)

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30):
                await self.batcher.start()
                try:
                    await main()
                finally:
                    self.model.unwedge.set()
                    self.batcher.close()

        asyncio.run(whole())


def test_a_hanging_engine_is_unhealthy_and_replaced() -> None:
    threaded = Threaded()
    batcher = threaded.batcher

    async def main() -> None:
        assert batcher.pool.healthy()
        stuck = await threaded.wedge()
        behind = threaded.ask(5)
        await asyncio.sleep(0)
        threaded.now_s = 0.9
        batcher.pool.check()
        assert batcher.pool.healthy()
        threaded.now_s = 1.1
        assert not batcher.pool.healthy()
        batcher.pool.check()
        assert not batcher.pool.healthy(), "its successor has proved nothing yet"
        with pytest.raises(EngineLost):
            await stuck
        assert await behind == [(5,) * 9]
        await threaded.until(batcher.pool.healthy)
        assert (batcher.admitted, batcher.answered, batcher.failed) == (2, 1, 1)

    threaded.run(main)


def test_an_engine_that_hangs_is_replaced_though_nobody_waits_any_more() -> None:
    threaded = Threaded(engine_stall_ms=50)
    batcher = threaded.batcher

    async def main() -> None:
        stuck = await threaded.wedge()
        hanging = batcher.pool.engines[0]
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert not batcher.jobs
        # The engine hangs for not long enough yet, so it must be looked at again.
        assert batcher.pool._check is not None
        batcher.pool._check.cancel()
        batcher.pool.check()
        threaded.now_s = 1.0
        await threaded.until(lambda: batcher.pool.engines[0] is not hanging)
        await threaded.until(batcher.pool.healthy)

    threaded.run(main)


def test_what_a_hanging_engine_says_later_is_not_listened_to() -> None:
    threaded = Threaded()
    batcher = threaded.batcher

    async def main() -> None:
        stuck = await threaded.wedge()
        hanging = batcher.pool.engines[0]
        threaded.now_s = 2.0
        batcher.pool.check()
        with pytest.raises(EngineLost):
            await stuck
        threaded.model.unwedge.set()
        await asyncio.to_thread(hanging.thread.join)
        await asyncio.sleep(0)
        assert len(batcher.pool.engines) == 1 and (batcher.answered, batcher.failed) == (0, 1)

    threaded.run(main)


def test_an_answer_that_comes_after_the_deadline_is_not_given() -> None:
    threaded = Threaded(engine_stall_ms=1_000_000)

    async def main() -> None:
        late = await threaded.wedge(deadline_s=50.0)
        threaded.now_s = 51.0
        threaded.model.unwedge.set()
        with pytest.raises(DeadlineExceeded):
            await late
        assert threaded.batcher.dropped["deadline_passed"] == 1

    threaded.run(main)


def test_an_engine_that_ends_is_replaced_and_its_requests_fail() -> None:
    threaded = Threaded()

    async def main() -> None:
        with pytest.raises(EngineLost):
            await threaded.ask(DEADLY)
        assert await threaded.ask(7) == [(7,) * 9]
        await threaded.until(threaded.batcher.pool.healthy)

    threaded.run(main)


def test_a_model_that_hangs_every_engine_is_given_up() -> None:
    threaded = Threaded()
    batcher = threaded.batcher

    async def main() -> None:
        for _ in range(MAX_LOST_ENGINES):
            await threaded.until(lambda: batcher.pool.engines[0].warm)
            stuck = await threaded.wedge()
            threaded.now_s += 2.0
            batcher.pool.check()
            with pytest.raises(EngineLost):
                await stuck
        assert not batcher.pool.healthy() and not batcher.jobs
        with pytest.raises(NotReady, match="no fake engine"):
            await threaded.ask(1)
        assert batcher.admission.refused["no_engine"] == 1

    threaded.run(main)


def test_no_request_is_left_hanging_when_the_server_closes() -> None:
    threaded = Threaded()

    async def main() -> None:
        stuck = await threaded.wedge()
        behind = threaded.ask(3)
        await asyncio.sleep(0)
        threaded.model.unwedge.set()
        threaded.batcher.close()
        for future in (stuck, behind):
            with pytest.raises(NotReady, match="draining"):
                await future

    threaded.run(main)


def test_a_model_that_fails_its_warm_up_does_not_start() -> None:
    threaded = Threaded()
    threaded.model.warmup_batches = lambda: [[[POISON]]]  # type: ignore[method-assign]

    async def main() -> None:
        raise AssertionError("it started")

    with pytest.raises(RuntimeError, match=r"fake engine has ended .*poison"):
        threaded.run(main)


@pytest.mark.parametrize("threads", [1, 3])
def test_real_engines_answer_each_request_with_its_own_answer(threads: int) -> None:
    threaded = Threaded(threads=threads, max_batch_size=8)

    async def main() -> None:
        for _ in range(5):
            answers = await asyncio.gather(*(threaded.ask(number) for number in range(100, 300)))
            assert answers == [[(number,) * 9] for number in range(100, 300)]
        assert max(map(len, threaded.model.batches)) <= 8
        assert len(threaded.model.batches) < 1_000, "nothing was batched"

    threaded.run(main)


def test_ready_fails_while_an_engine_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from dynamic_batching import server

    artefact = SimpleNamespace()
    monkeypatch.setattr(server, "find_artefact", lambda folder, name: artefact)
    app = server.create_app(Settings())
    lifecycle: Lifecycle = app.state.lifecycle
    unhealthy: list[str | None] = ["sentiment"]
    lifecycle.state = "ready"
    lifecycle._batchers = SimpleNamespace(unhealthy=lambda: unhealthy[0])  # type: ignore[assignment]
    client = TestClient(app)
    answer = client.get("/ready")
    assert answer.status_code == 503 and "sentiment engine" in answer.json()["detail"]
    unhealthy[0] = None
    assert client.get("/ready").status_code == 200
    lifecycle.state = "draining"
    assert client.get("/ready").status_code == 503
