"""The scheduler with a fake model and a fake clock: every request ends, with its own answer or a reason."""

import asyncio
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from fake_workers import FAILS, FakeModel, check_counts, measured_latency, request
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import SimulatedScheduler, batching, run_fake, submit, submit_at_random

from dynamic_batching.batch_worker import BatchWorker
from dynamic_batching.queue import RequestQueue
from dynamic_batching.web.errors import DeadlineExceeded
from dynamic_batching.worker import InferenceFailed


@settings(max_examples=5)
@given(
    seed=st.integers(0, 2**32),
    max_batch_size=st.sampled_from([1, 4, 64]),
    max_batch_tokens=st.sampled_from([50, 2_048]),
    max_wait_ms=st.sampled_from([0, 5]),
)
def test_a_thousand_requests_all_end_with_their_own_answer_or_a_reason(
    seed: int, max_batch_size: int, max_batch_tokens: int, max_wait_ms: int
) -> None:
    draw = random.Random(seed)

    async def main() -> tuple[SimulatedScheduler, list[str]]:
        scheduler = await batching(
            FakeModel(),
            max_batch_size=max_batch_size,
            max_batch_tokens=max_batch_tokens,
            max_wait_ms=max_wait_ms,
            queue_size=100,
            max_queue_tokens=3_000,
        )
        ends: list[str] = []
        async with asyncio.TaskGroup() as submitting:
            for _ in range(1_000):
                submitting.create_task(submit_at_random(scheduler, draw, ends))
                await asyncio.sleep(draw.expovariate(1 / 0.03) if draw.random() < 0.5 else 0)
                check_counts(scheduler)
        return scheduler, ends

    scheduler, ends = run_fake(main())
    count = Counter(ends)
    assert len(ends) == 1_000 and not scheduler.requests
    assert (scheduler.answered, scheduler.failed) == (count["answered"], count["failed"])
    assert scheduler.dropped["deadline_passed"] == count["deadline_passed"]
    assert sum(scheduler.admission.refused.values()) == count["refused"]
    queue = scheduler.queue
    assert (queue.requests, queue.sequences, queue.tokens) == (0, 0, 0)
    assert count["answered"] > 100 and count["refused"] and count["failed"] and count["disconnected"]


def test_a_sequence_that_fails_fails_alone() -> None:
    async def main() -> None:
        model = FakeModel()
        scheduler = await batching(model)
        before_s = scheduler.latency.token_s
        outcomes = await asyncio.gather(
            *(submit(scheduler, [first] * 9) for first in (1, FAILS, 2, 3)), return_exceptions=True
        )
        assert [outcomes[index] for index in (0, 2, 3)] == [[(n,) * 9] for n in (1, 2, 3)]
        assert isinstance(outcomes[1], InferenceFailed)
        assert [len(batch) for batch in model.batches] == [4, 1, 1, 1, 1]
        assert (scheduler.answered, scheduler.failed) == (3, 1)
        assert scheduler.latency.token_s == before_s, "the speed is not that of runs which had to be repeated"

    run_fake(main())


def test_a_model_that_answers_too_few_texts_mixes_up_no_answers() -> None:
    class Short(FakeModel):
        def infer(self, batch: list[list[int]]) -> list[Any]:
            answers = super().infer(batch)
            return answers[1:] if len(batch) > 1 else answers

    async def main() -> None:
        scheduler = await batching(Short())
        outcomes = await asyncio.gather(*(submit(scheduler, [first] * 9) for first in (1, 2, 3)))
        assert outcomes == [[(n,) * 9] for n in (1, 2, 3)]

    run_fake(main())


def test_sequences_that_wait_alone_for_their_retry_are_dropped_at_their_deadline() -> None:
    model, queue, reported = FakeModel(), RequestQueue(8, 100), []
    callbacks: Any = SimpleNamespace(
        clock_s=lambda: 0.0, on_done=lambda sequences, report, ended_s: reported.extend(sequences)
    )
    worker = BatchWorker(callbacks, "fake", queue, measured_latency(), model.infer, model.warmup_batches)
    late, failing = request([1] * 9), request([FAILS] * 9)
    queue.push(late, 0.0)
    queue.push(failing, 0.0)
    batch, _ = queue.schedule(0.0)
    assert batch is not None
    late.deadline_s = -1.0
    worker.run(batch)
    assert reported == [*late.sequences, *failing.sequences]
    assert isinstance(reported[0].outcome, DeadlineExceeded)
    assert isinstance(reported[1].outcome, InferenceFailed)
    assert len(model.batches) == 2


def test_a_request_that_the_server_cancels_as_it_stops_is_dropped() -> None:
    async def main() -> None:
        scheduler = await batching(FakeModel(), max_wait_ms=1_000_000)
        admitted = submit(scheduler, [1] * 9)
        await asyncio.sleep(4.0)
        admitted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await admitted
        assert scheduler.dropped["draining"] == 1 and not scheduler.queue.sequences
        check_counts(scheduler)

    run_fake(main())


def test_a_batch_that_ends_late_gives_its_late_requests_no_answer() -> None:
    async def main() -> None:
        scheduler = await batching(FakeModel())
        # So that the deadline seems within reach.
        scheduler.latency.token_s = scheduler.latency.fastest_s = 1e-9
        late = submit(scheduler, [1] * 9, deadline_s=0.015)
        early = submit(scheduler, [2] * 9, deadline_s=9.0)
        with pytest.raises(DeadlineExceeded):
            await late
        assert scheduler.clock_s() == pytest.approx(0.015), "at the deadline, not at the batch's end"
        assert await early == [(2,) * 9]

    run_fake(main())
