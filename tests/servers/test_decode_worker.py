"""Sequences that join and leave between steps, with a fake decoder and clock: each ends by its own answer."""

import asyncio
import random
import threading
from collections import Counter
from typing import Any

import pytest
from fake_workers import FAILS, FAILS_TO_ENCODE, TOKEN_S, FakeDecoder, check_counts
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import (
    SimulatedScheduler,
    decoding,
    run_fake,
    submit,
    submit_at_random,
    threaded_decoding,
)

from dynamic_batching.decoder import Encoded, StepResult
from dynamic_batching.sequence import Sequence
from dynamic_batching.worker import InferenceFailed
from dynamic_batching.worker_pool import WorkerLost


@settings(max_examples=5)
@given(
    seed=st.integers(0, 2**32),
    slots=st.sampled_from([1, 4, 64]),
    max_prefill_tokens=st.sampled_from([30, 512]),
    long_tokens=st.sampled_from([20, 64]),
)
def test_a_thousand_requests_all_end_with_their_own_answer_or_a_reason(
    seed: int, slots: int, max_prefill_tokens: int, long_tokens: int
) -> None:
    draw = random.Random(seed)

    async def main() -> tuple[SimulatedScheduler, list[str]]:
        scheduler = await decoding(
            max_batch_size=slots,
            max_prefill_tokens=max_prefill_tokens,
            queue_size=100,
            max_queue_tokens=3_000,
            long_tokens=long_tokens,
        )
        ends: list[str] = []
        async with asyncio.TaskGroup() as submitting:
            for _ in range(1_000):
                submitting.create_task(submit_at_random(scheduler, draw, ends))
                await asyncio.sleep(draw.expovariate(1 / 0.03) if draw.random() < 0.5 else 0)
                check_counts(scheduler)
        await asyncio.sleep(1.0)
        return scheduler, ends

    scheduler, ends = run_fake(main())
    count = Counter(ends)
    assert len(ends) == 1_000 and not scheduler.requests
    assert (scheduler.answered, scheduler.failed) == (count["answered"], count["failed"])
    assert scheduler.dropped["deadline_passed"] == count["deadline_passed"]
    assert sum(scheduler.admission.refused.values()) == count["refused"]
    queue = scheduler.queue
    assert (queue.requests, queue.sequences, queue.tokens) == (0, 0, 0)
    assert not scheduler.worker.decoder.rows and not scheduler.worker.sequences, "every slot is free"
    assert scheduler.worker.decoder.most <= slots
    assert all(tokens <= max(max_prefill_tokens, 60) for tokens in scheduler.worker.decoder.joins)
    assert count["answered"] > 100 and count["failed"] and count["disconnected"]


def test_a_sequence_joins_those_that_run_and_leaves_before_them() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=2)
        long = submit(scheduler, [1] * 100)
        await asyncio.sleep(10 * TOKEN_S)
        assert await submit(scheduler, [2] * 5) == [(2,) * 5]
        assert not long.done() and scheduler.clock_s() < 20 * TOKEN_S
        assert await long == [(1,) * 100]

    run_fake(main())


def test_a_sequence_whose_request_was_cancelled_frees_its_slot() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=1)
        cancelled = submit(scheduler, [1] * 10_000)
        await asyncio.sleep(10 * TOKEN_S)
        behind = submit(scheduler, [2] * 5)
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await behind == [(2,) * 5]
        assert scheduler.clock_s() < 30 * TOKEN_S and scheduler.dropped["draining"] == 1

    run_fake(main())


def test_a_sequence_whose_deadline_passes_frees_its_slot() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=1)
        scheduler.latency.base_s = 1e-9  # so that the deadline seems within reach
        late = submit(scheduler, [1] * 10_000, deadline_s=10 * TOKEN_S)
        await asyncio.sleep(0)
        assert await submit(scheduler, [2] * 5) == [(2,) * 5]
        assert scheduler.dropped["deadline_passed"] == 1 and late.exception() is not None

    run_fake(main())


def test_a_sequence_with_beams_waits_for_as_many_slots_and_is_not_overtaken() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=4)
        first = submit(scheduler, [1] * 20, num_beams=3)
        await asyncio.sleep(2 * TOKEN_S)
        second = submit(scheduler, [2] * 20, num_beams=2)
        third = submit(scheduler, [3] * 2)
        await asyncio.sleep(5 * TOKEN_S)
        assert scheduler.running_slots() == 3 and not third.done(), "first come, first served"
        assert await asyncio.gather(first, second, third) == [[(1,) * 20], [(2,) * 20], [(3,) * 2]]

    run_fake(main())


def test_sequences_are_decoded_while_a_long_text_is_encoded() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=2)
        running = submit(scheduler, [1] * 50)
        await asyncio.sleep(2 * TOKEN_S)
        long = submit(scheduler, [2] * 100)
        await asyncio.sleep(2 * TOKEN_S)
        third = submit(scheduler, [3] * 2)
        assert await running == [(1,) * 50] and scheduler.clock_s() < 54 * TOKEN_S
        held = scheduler.running_slots()
        assert held == 2 and await third == [(3,) * 2], "it held one slot, the other was free again"
        assert not long.done() and await long == [(2,) * 100]
        assert scheduler.worker.decoder.joins == [50, 2], "and was encoded in the background"

    run_fake(main())


def test_a_short_text_does_not_wait_for_a_long_one_that_came_with_it() -> None:
    async def main() -> None:
        scheduler = await decoding()
        both = submit(scheduler, [1] * 100, [2] * 5)
        await asyncio.sleep(3 * TOKEN_S)
        assert scheduler.worker.decoder.joins == [5] and len(scheduler.worker.prefill.sequences) == 1
        assert await both == [(1,) * 100, (2,) * 5]

    run_fake(main())


def test_with_no_short_text_to_wait_for_it_a_long_one_is_encoded_at_once() -> None:
    async def main() -> None:
        scheduler = await decoding()
        first = submit(scheduler, [1] * 100)
        await asyncio.sleep(2 * TOKEN_S)
        assert await submit(scheduler, [2] * 100) == [(2,) * 100] and await first == [(1,) * 100]
        assert scheduler.worker.decoder.joins == [100, 100] and scheduler.clock_s() < 110 * TOKEN_S

    run_fake(main())


def test_of_many_long_texts_few_wait_to_be_encoded_in_the_background() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=64)
        first = submit(scheduler, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        others = [submit(scheduler, [2] * 100) for _ in range(20)]
        await asyncio.sleep(10 * TOKEN_S)
        waiting = len(scheduler.worker.prefill.sequences)
        assert 1 <= waiting <= 3 and len(scheduler.worker.running) == 21 - waiting
        await asyncio.gather(first, *others)

    run_fake(main())


def test_a_long_text_whose_request_has_ended_is_not_encoded_in_the_background() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=2)
        scheduler.latency.base_s = 1e-9  # so that the deadline seems within reach
        prefill = scheduler.worker.prefill
        running = submit(scheduler, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        cancelled = submit(scheduler, [2] * 100)
        late = submit(scheduler, [3] * 100, deadline_s=40 * TOKEN_S)
        await asyncio.sleep(2 * TOKEN_S)
        assert {each.source[0] for each in prefill.sequences} == {2}
        cancelled.cancel()
        await asyncio.sleep(3 * TOKEN_S)
        assert {each.source[0] for each in prefill.sequences} == {3}
        assert await running == [(1,) * 60] and late.exception() is not None
        assert not scheduler.worker.sequences and not scheduler.worker.decoder.rows
        assert scheduler.dropped == Counter(draining=1, deadline_passed=1, disconnected=0)

    run_fake(main())


def test_a_long_text_that_cannot_be_encoded_fails_alone() -> None:
    async def main() -> None:
        scheduler = await decoding(max_batch_size=2)
        running = submit(scheduler, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        with pytest.raises(InferenceFailed):
            await submit(scheduler, [FAILS_TO_ENCODE] * 100)
        assert scheduler.clock_s() > 100 * TOKEN_S, "in the background"
        assert await running == [(1,) * 60] and not scheduler.worker.sequences

    run_fake(main())


@pytest.mark.parametrize("bad", [FAILS, FAILS_TO_ENCODE])
def test_a_sequence_that_fails_fails_alone(bad: int) -> None:
    async def main() -> None:
        scheduler = await decoding()
        outcomes = await asyncio.gather(
            *(submit(scheduler, [first] * 9) for first in (1, bad, 2)), return_exceptions=True
        )
        assert [outcomes[0], outcomes[2]] == [[(1,) * 9], [(2,) * 9]]
        assert isinstance(outcomes[1], InferenceFailed) and isinstance(outcomes[1].__cause__, StopIteration)
        assert (scheduler.answered, scheduler.failed) == (2, 1)
        assert scheduler.worker.decoder.free_slots == scheduler.worker.decoder.slots

    run_fake(main())


def test_a_worker_whose_background_encoding_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    encode = FakeDecoder.encode

    def hang(decoder: FakeDecoder, sequences: list[Sequence]) -> Encoded:
        if len(sequences[0].source) > 4:
            assert go_on.wait(60)
        return encode(decoder, sequences)

    monkeypatch.setattr(FakeDecoder, "encode", hang)

    async def main() -> None:
        scheduler = threaded_decoding(long_tokens=4, worker_stall_ms=50)
        await scheduler.start()
        hanging = scheduler.pool.workers[0]
        try:
            with pytest.raises(WorkerLost):
                await submit(scheduler, [1] * 3, [2] * 9)
            await asyncio.to_thread(hanging.thread.join, 20)
            assert not hanging.thread.is_alive(), "it would be woken in the place of its successor"
            async with asyncio.timeout(20):
                assert await submit(scheduler, [3] * 3) == [(3,) * 3], "its successor answers"
            assert scheduler.running_slots() == 0 and (scheduler.answered, scheduler.failed) == (1, 1)
        finally:
            go_on.set()
            scheduler.close()

    asyncio.run(main())


def test_a_worker_that_hangs_in_its_warm_up_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    hangs: list[bool] = []
    step = FakeDecoder.step

    def hang(decoder: FakeDecoder) -> StepResult:
        if hangs:
            hangs.pop()
            assert go_on.wait(60)
        return step(decoder)

    monkeypatch.setattr(FakeDecoder, "step", hang)

    async def main() -> None:
        unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: unhandled.append(error))
        scheduler = threaded_decoding(worker_stall_ms=50)
        await scheduler.start()
        hangs[:] = [True, True]
        try:
            with pytest.raises(WorkerLost):
                await submit(scheduler, [1] * 3)
            assert await submit(scheduler, [2] * 3) == [(2,) * 3], "the third one answers"
            assert not hangs and not unhandled and (scheduler.answered, scheduler.failed) == (1, 1)
        finally:
            go_on.set()
            scheduler.close()

    asyncio.run(main())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("long_tokens", [4, 64])
def test_real_workers_answer_each_request_with_its_own_answer(threads: int, long_tokens: int) -> None:
    async def main() -> None:
        scheduler = threaded_decoding(long_tokens, threads=threads)
        await scheduler.start()
        try:
            for _ in range(3):
                answers = await asyncio.gather(
                    *(submit(scheduler, [n] * (n % 9 + 1)) for n in range(100, 300))
                )
                assert answers == [[(n,) * (n % 9 + 1)] for n in range(100, 300)]
            assert scheduler.running_slots() == 0 and scheduler.pool.healthy()
        finally:
            scheduler.close()

    asyncio.run(main())
