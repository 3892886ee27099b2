"""Workers that hang or end, on real threads; the clock that says how long a batch runs is a fake one."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_workers import (
    ENDS_THREAD,
    FAILS,
    HANGS,
    FakeModel,
    check_counts,
    context,
    metrics,
    sequence,
)
from fastapi.testclient import TestClient

from dynamic_batching.batch_worker import BatchWorker
from dynamic_batching.config import Settings
from dynamic_batching.engine import BatchingEngine
from dynamic_batching.latency_model import BatchLatencyModel
from dynamic_batching.queue import RequestQueue
from dynamic_batching.scheduler import Scheduler
from dynamic_batching.sequence import Batch
from dynamic_batching.web.app import create_app
from dynamic_batching.web.errors import DeadlineExceeded, Refusal
from dynamic_batching.web.model_files import ModelFiles
from dynamic_batching.worker import SchedulerCallbacks
from dynamic_batching.worker_pool import MAX_LOST_WORKERS, WorkerLost


class Threaded:
    """A started scheduler with real workers on a clock that only `now_s` moves."""

    def __init__(self, **changed: Any) -> None:
        self.now_s = 0.0
        self.model = FakeModel()
        limits = Settings(**{"threads": 1, "worker_stall_ms": 1_000, **changed})
        queue = RequestQueue(limits.max_batch_size, limits.max_batch_tokens, limits.max_wait_ms / 1e3)
        latency = BatchLatencyModel(limits.threads)

        def make_worker(callbacks: SchedulerCallbacks[Batch], name: str) -> BatchWorker:
            return BatchWorker(callbacks, name, queue, latency, self.model.infer, self.model.warmup_batches)

        self.given_up: list[str] = []
        self.scheduler = Scheduler(
            "fake", limits, queue, latency, make_worker, metrics(), clock_s=lambda: self.now_s
        )
        self.scheduler.pool.on_given_up = self.given_up.append

    def submit(self, first: int, deadline_s: float = 1e6) -> asyncio.Future[list[Any]]:
        """The answers to a request with one sequence of 9 tokens."""
        return asyncio.ensure_future(self.scheduler.submit([sequence([first] * 9)], context(deadline_s)))

    async def hang(self, deadline_s: float = 1e6) -> asyncio.Future[list[Any]]:
        """A request whose run hangs by now."""
        self.model.hanging.clear()
        stuck = self.submit(HANGS, deadline_s)
        await asyncio.to_thread(self.model.hanging.wait)
        return stuck

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.sleep(0)

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30):
                await self.scheduler.start()
                try:
                    await main()
                finally:
                    self.model.go_on.set()
                    self.scheduler.close()

        asyncio.run(whole())


def test_a_worker_that_hangs_is_unhealthy_and_replaced() -> None:
    threaded = Threaded()
    scheduler, pool = threaded.scheduler, threaded.scheduler.pool

    async def main() -> None:
        assert pool.healthy()
        stuck = await threaded.hang()
        behind = threaded.submit(5)
        await asyncio.sleep(0)
        threaded.now_s = 0.9
        pool.check()
        assert pool.healthy()
        threaded.now_s = 1.1
        assert not pool.healthy()
        pool.check()
        assert not pool.healthy(), "its successor has proved nothing yet"
        with pytest.raises(WorkerLost) as lost:
            await stuck
        assert lost.value.status_code == 500
        assert await behind == [(5,) * 9]
        await threaded.until(pool.healthy)
        assert (scheduler.admitted, scheduler.answered, scheduler.failed) == (2, 1, 1)

    threaded.run(main)


def test_a_worker_that_hangs_is_replaced_though_no_request_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threaded = Threaded(worker_stall_ms=50)
    scheduler, pool = threaded.scheduler, threaded.scheduler.pool

    async def main() -> None:
        stuck = await threaded.hang()
        hanging = pool.workers[0]
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        assert not scheduler.requests
        # It hangs for not long enough yet, so it must be checked again.
        checks: list[None] = []
        check = pool.check
        monkeypatch.setattr(pool, "check", lambda: (checks.append(None), check()))
        await threaded.until(lambda: len(checks) == 1)
        threaded.now_s = 1.0
        await threaded.until(lambda: pool.workers[0] is not hanging)
        await threaded.until(pool.healthy)

    threaded.run(main)


def test_what_a_replaced_worker_reports_later_changes_nothing() -> None:
    threaded = Threaded()
    scheduler, pool = threaded.scheduler, threaded.scheduler.pool

    async def main() -> None:
        stuck = await threaded.hang()
        hanging = pool.workers[0]
        threaded.now_s = 2.0
        pool.check()
        with pytest.raises(WorkerLost):
            await stuck
        threaded.model.go_on.set()
        await asyncio.to_thread(hanging.thread.join)
        await asyncio.sleep(0)
        assert len(pool.workers) == 1 and (scheduler.answered, scheduler.failed) == (0, 1)

    threaded.run(main)


def test_an_answer_that_comes_after_the_deadline_is_not_given() -> None:
    threaded = Threaded(worker_stall_ms=1_000_000)

    async def main() -> None:
        late = await threaded.hang(deadline_s=50.0)
        threaded.now_s = 51.0
        threaded.model.go_on.set()
        with pytest.raises(DeadlineExceeded):
            await late
        assert threaded.scheduler.dropped["deadline_passed"] == 1

    threaded.run(main)


def test_a_worker_that_ends_is_replaced_and_its_requests_fail() -> None:
    threaded = Threaded()

    async def main() -> None:
        with pytest.raises(WorkerLost):
            await threaded.submit(ENDS_THREAD)
        assert await threaded.submit(7) == [(7,) * 9]
        await threaded.until(threaded.scheduler.pool.healthy)

    threaded.run(main)


def test_a_model_that_hangs_every_worker_is_given_up() -> None:
    threaded = Threaded()
    scheduler, pool = threaded.scheduler, threaded.scheduler.pool

    async def main() -> None:
        for lost in range(MAX_LOST_WORKERS):
            await threaded.until(lambda: pool.workers[0].warm)
            stuck = await threaded.hang()
            behind = threaded.submit(5) if lost == MAX_LOST_WORKERS - 1 else None
            await asyncio.sleep(0)
            threaded.now_s += 2.0
            assert not threaded.given_up
            pool.check()
            with pytest.raises(WorkerLost):
                await stuck
        assert threaded.given_up == [f"{MAX_LOST_WORKERS} fake workers in a row hung or ended"]
        assert behind is not None
        with pytest.raises(Refusal, match="no fake worker works") as refusal:
            await behind
        assert refusal.value.status_code == 503
        assert (scheduler.failed, scheduler.dropped["draining"]) == (MAX_LOST_WORKERS, 1)
        assert not pool.healthy() and not scheduler.requests
        with pytest.raises(Refusal, match="no fake worker"):
            await threaded.submit(1)
        assert scheduler.admission.refused["no_worker"] == 1
        refusal = scheduler.refusal_at_header(1e6)
        assert refusal is not None and "no fake worker" in refusal.detail
        assert scheduler.admission.refused["no_worker"] == 2

    threaded.run(main)


def test_a_model_is_given_up_though_a_worker_is_left() -> None:
    """Such a server would never be ready again, so nothing would be sent to the worker that is left."""
    threaded = Threaded(threads=2)
    pool = threaded.scheduler.pool

    async def main() -> None:
        for _ in range(MAX_LOST_WORKERS):
            with pytest.raises(WorkerLost):
                await threaded.submit(ENDS_THREAD)
        await threaded.until(lambda: len(pool.workers) == 1)
        assert len(threaded.given_up) == 1 and not pool.healthy()
        assert await threaded.submit(7) == [(7,) * 9]

    threaded.run(main)


def test_workers_that_are_lost_between_answers_are_replaced_without_end() -> None:
    threaded = Threaded()

    async def main() -> None:
        for _ in range(3 * MAX_LOST_WORKERS):
            with pytest.raises(WorkerLost):
                await threaded.submit(ENDS_THREAD)
            assert await threaded.submit(7) == [(7,) * 9]
        assert not threaded.given_up
        assert threaded.scheduler.pool.lost == 3 * MAX_LOST_WORKERS

    threaded.run(main)


def test_no_request_is_left_hanging_when_the_server_closes() -> None:
    threaded = Threaded()

    async def main() -> None:
        stuck = await threaded.hang()
        behind = threaded.submit(3)
        await asyncio.sleep(0)
        threaded.model.go_on.set()
        threaded.scheduler.close()
        for future in (stuck, behind):
            with pytest.raises(Refusal, match="draining"):
                await future

    threaded.run(main)


def test_a_closed_scheduler_drops_what_waits_for_more_and_refuses_the_rest() -> None:
    threaded = Threaded(max_wait_ms=1_000_000)
    scheduler = threaded.scheduler

    async def main() -> None:
        admitted = [threaded.submit(first) for first in range(5)]
        await threaded.until(lambda: scheduler.admitted == 5)
        assert scheduler.queue.requests == 5 and not any(future.done() for future in admitted)
        scheduler.close()
        for future in (*admitted, threaded.submit(1)):
            with pytest.raises(Refusal, match="draining") as refusal:
                await future
            assert refusal.value.status_code == 503 and refusal.value.headers == {"Retry-After": "1"}
        assert scheduler.admitted == scheduler.dropped["draining"] == 5
        assert (scheduler.queue.requests, scheduler.queue.sequences, scheduler.queue.tokens) == (0, 0, 0)
        check_counts(scheduler)

    threaded.run(main)


def test_a_model_that_fails_its_warm_up_does_not_start() -> None:
    threaded = Threaded()
    threaded.model.warmup_batches = [[[FAILS]]]

    async def main() -> None:
        raise AssertionError("it started")

    with pytest.raises(RuntimeError, match=r"fake worker has ended .*broken text"):
        threaded.run(main)


@pytest.mark.parametrize("threads", [1, 3])
def test_real_workers_answer_each_request_with_its_own_answer(threads: int) -> None:
    threaded = Threaded(threads=threads, max_batch_size=8)

    async def main() -> None:
        for _ in range(5):
            answers = await asyncio.gather(*(threaded.submit(number) for number in range(100, 300)))
            assert answers == [[(number,) * 9] for number in range(100, 300)]
        assert max(map(len, threaded.model.batches)) <= 8
        assert len(threaded.model.batches) < 1_000, "nothing was batched"

    threaded.run(main)


def test_ready_fails_while_models_load_and_while_a_worker_does_not_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = "dynamic_batching.engine.find_onnx_files"
    monkeypatch.setattr(find, lambda folder, task: ModelFiles(task, folder, {}))
    app = create_app(BatchingEngine, Settings())
    service = app.state.service
    healthy = {"translation": True, "sentiment": False}
    for task in healthy:
        pool = SimpleNamespace(healthy=lambda task=task: healthy[task])
        setattr(service.engine, task, SimpleNamespace(task=task, pool=pool))
    client = TestClient(app)
    answer = client.get("/ready")
    assert answer.status_code == 503 and "loading" in answer.json()["detail"]
    service.loaded = True
    answer = client.get("/ready")
    assert answer.status_code == 503 and "sentiment worker" in answer.json()["detail"]
    healthy["sentiment"] = True
    assert client.get("/ready").status_code == 200
