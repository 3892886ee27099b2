"""Texts that join and leave between steps, with fakes for decoder and clock: each ends by its own answer."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dynamic_batching.batch_metrics import BatchMetrics
from dynamic_batching.batcher import Batcher
from dynamic_batching.config import Settings
from dynamic_batching.decode_engine import DecodeEngine
from dynamic_batching.errors import EngineLost, InferenceFailed
from dynamic_batching.job import Done, Text
from dynamic_batching.prefill_lane import Prefill, PrefillLane
from dynamic_batching.row import Encoded, Row, StepResult
from tests.test_batcher import FOREVER_S, POISON, TOKEN_S, FakeClock, FakeModel, run_fake, serve

UNENCODABLE = 14


class FakeDecoder:
    """Decodes a source to itself, a token a step; some sources fail as they join or at their third step."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.rows: dict[Hashable, tuple[Row, list[int]]] = {}
        self.joins: list[int] = []
        self.most = 0

    @property
    def free(self) -> int:
        return self.slots - sum(row.num_beams for row, _ in self.rows.values())

    def encode(self, rows: list[Row]) -> Encoded:
        if any(row.source[0] == UNENCODABLE for row in rows):
            raise StopIteration("unencodable")
        return {row.key: ([], at, len(row.source)) for at, row in enumerate(rows)}

    def join(self, rows: list[Row], encoded: Encoded | None = None) -> list[tuple[Hashable, list[int]]]:
        assert sum(row.num_beams for row in rows) <= self.free
        if encoded is None:
            encoded = self.encode(rows)
            self.joins.append(sum(len(row.source) for row in rows))
        assert encoded.keys() == {row.key for row in rows}
        for row in rows:
            self.rows[row.key] = row, []
        self.most = max(self.most, len(self.rows))
        return []

    def step(self) -> StepResult:
        result = StepResult()
        for key, (row, tokens) in [*self.rows.items()]:
            if row.source[0] == POISON and len(tokens) == min(2, len(row.source) - 1):
                result.failed.append((key, StopIteration("poison")))
                del self.rows[key]
                continue
            tokens.append(row.source[len(tokens)])
            if len(tokens) == len(row.source):
                result.finished.append((key, tokens))
                del self.rows[key]
        return result

    def remove(self, key: Hashable) -> None:
        del self.rows[key]


class FakeTranslator(FakeModel):
    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots

    def new_decoder(self) -> FakeDecoder:
        return FakeDecoder(self.slots)

    def row(self, key: Hashable, token_ids: list[int], num_beams: int) -> Row:
        return Row(key, token_ids, len(token_ids), num_beams=num_beams)

    def text(self, token_ids: list[int]) -> tuple[int, ...]:
        return tuple(token_ids)


class SimulatedLane(PrefillLane):
    """A lane without a thread: each text is encoded in the time of as many steps as it has tokens."""

    def submit(self, text: Text, row: Row, formed_s: float) -> None:
        self.texts[text] = formed_s
        asyncio.get_running_loop().call_later(len(row.source) * TOKEN_S, self._end, text, row)

    def _end(self, text: Text, row: Row) -> None:
        outcome: Encoded | BaseException
        try:
            outcome = self._encode([row])
        except StopIteration as error:
            outcome = error
        self._ended.append(Prefill(text, row, outcome, 0.0))


class SimulatedSlots(Batcher):
    """A batcher without threads: a coroutine is its engine, and a step takes the fake clock's time."""

    def __init__(self, **changed: Any) -> None:
        self.loop = asyncio.get_running_loop()
        limits = Settings(**{"threads": 1, **changed})
        super().__init__(
            "fake",
            FakeTranslator(limits.max_batch_size),
            limits,
            limits.max_prefill_tokens,
            BatchMetrics(CollectorRegistry()),
            self.loop.time,
            slots=True,
        )
        self._loop = self.loop
        self.engine = DecodeEngine(self, "fake")
        self.decoder: FakeDecoder = self.engine.decoder
        self.engine.lane = SimulatedLane(self.decoder.encode, lambda: None, self.loop.time, "fake")
        self.pool._loop = self.loop
        self.pool.engines.append(self.engine)
        self.cost.base_s = TOKEN_S
        self.working = self.loop.create_task(self.work_on())

    async def work_on(self) -> None:
        while True:
            if not self.engine.take(wait=False):
                await asyncio.sleep(TOKEN_S)
                continue
            assert {*self.engine.rows} == self.decoder.rows.keys()
            done = self.engine.step()
            await asyncio.sleep(TOKEN_S)
            if done:
                self._deliver(done, self.engine._steps, self.clock_s())
                self.engine._steps = type(self.engine._steps)()

    def on_done(self, done: list[Done], run: Any, ended_s: float) -> None:
        self._deliver(done, run, ended_s)

    def check_counts(self) -> None:
        ended = self.answered + self.failed + sum(self.dropped.values())
        assert self.admitted == ended + len(self.jobs)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    slots=st.sampled_from([1, 4, 64]),
    max_prefill_tokens=st.sampled_from([30, 512]),
    long_tokens=st.sampled_from([20, 64]),
)
def test_two_thousand_requests_all_end_with_their_own_answer_or_a_reason(
    seed: int, slots: int, max_prefill_tokens: int, long_tokens: int
) -> None:
    draw = random.Random(seed)

    async def main() -> tuple[SimulatedSlots, list[str]]:
        batcher = SimulatedSlots(
            max_batch_size=slots,
            max_prefill_tokens=max_prefill_tokens,
            queue_size=100,
            max_queue_tokens=3_000,
        )
        batcher.engine.long_tokens = long_tokens
        ends: list[str] = []
        async with asyncio.TaskGroup() as serving:
            for _ in range(2_000):
                serving.create_task(serve(batcher, draw, ends))  # type: ignore[arg-type]
                await asyncio.sleep(draw.expovariate(1 / 0.03) if draw.random() < 0.5 else 0)
                batcher.check_counts()
        await asyncio.sleep(1.0)
        batcher.working.cancel()
        return batcher, ends

    batcher, ends = run_fake(main())
    count = Counter(ends)
    assert len(ends) == 2_000 and not batcher.jobs
    assert (batcher.answered, batcher.failed) == (count["answered"], count["failed"])
    assert batcher.dropped["deadline_passed"] == count["deadline_passed"]
    assert sum(batcher.admission.refused.values()) == count["refused"]
    assert (batcher.queue.requests, batcher.queue.texts, batcher.queue.tokens) == (0, 0, 0)
    assert not batcher.decoder.rows and not batcher.engine.texts, "every slot is free"
    assert batcher.decoder.most <= slots
    assert all(tokens <= max(max_prefill_tokens, 60) for tokens in batcher.decoder.joins)
    assert count["answered"] > 100 and count["failed"] and count["disconnected"]


def ask(
    batcher: SimulatedSlots, tokens: list[int], deadline_s: float = FOREVER_S, num_beams: int = 1
) -> asyncio.Future[list[Any]]:
    clock: Any = FakeClock(deadline_s)
    return asyncio.ensure_future(batcher.infer([tokens], clock, num_beams=num_beams))


def test_a_text_joins_beside_those_that_run_and_leaves_before_them() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=2)
        long = ask(batcher, [1] * 100)
        await asyncio.sleep(10 * TOKEN_S)
        assert await ask(batcher, [2] * 5) == [(2,) * 5]
        assert not long.done() and batcher.clock_s() < 20 * TOKEN_S
        assert await long == [(1,) * 100]
        batcher.working.cancel()

    run_fake(main())


def test_a_text_that_nobody_waits_for_frees_its_slot() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=1)
        left = ask(batcher, [1] * 10_000)
        await asyncio.sleep(10 * TOKEN_S)
        behind = ask(batcher, [2] * 5)
        await asyncio.sleep(0)
        left.cancel()
        assert await behind == [(2,) * 5]
        assert batcher.clock_s() < 30 * TOKEN_S and batcher.dropped["disconnected"] == 1
        batcher.working.cancel()

    run_fake(main())


def test_a_text_whose_deadline_passes_frees_its_slot() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=1)
        batcher.cost.base_s = 1e-9  # so that the deadline seems within reach
        late = ask(batcher, [1] * 10_000, deadline_s=10 * TOKEN_S)
        await asyncio.sleep(0)
        assert await ask(batcher, [2] * 5) == [(2,) * 5]
        assert batcher.dropped["deadline_passed"] == 1 and late.exception() is not None
        batcher.working.cancel()

    run_fake(main())


def test_a_text_with_beams_waits_for_as_many_slots_and_is_not_overtaken() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=4)
        first = ask(batcher, [1] * 20, num_beams=3)
        await asyncio.sleep(2 * TOKEN_S)
        second = ask(batcher, [2] * 20, num_beams=2)
        third = ask(batcher, [3] * 2)
        await asyncio.sleep(5 * TOKEN_S)
        assert batcher.rows() == 3 and not third.done(), "first come, first served"
        assert await asyncio.gather(first, second, third) == [[(1,) * 20], [(2,) * 20], [(3,) * 2]]
        batcher.working.cancel()

    run_fake(main())


def test_rows_go_on_while_a_long_text_is_encoded() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=2)
        running = ask(batcher, [1] * 50)
        await asyncio.sleep(2 * TOKEN_S)
        long = ask(batcher, [2] * 100)
        await asyncio.sleep(2 * TOKEN_S)
        third = ask(batcher, [3] * 2)
        assert await running == [(1,) * 50] and batcher.clock_s() < 54 * TOKEN_S
        assert batcher.rows() == 2 and await third == [(3,) * 2], "it held one slot, the other was free again"
        assert not long.done() and await long == [(2,) * 100]
        assert batcher.decoder.joins == [50, 2], "and was encoded beside the steps"
        batcher.working.cancel()

    run_fake(main())


def test_a_short_text_does_not_wait_for_a_long_one_that_came_with_it() -> None:
    async def main() -> None:
        batcher = SimulatedSlots()
        clock: Any = FakeClock(FOREVER_S)
        both = asyncio.ensure_future(batcher.infer([[1] * 100, [2] * 5], clock))
        await asyncio.sleep(3 * TOKEN_S)
        assert batcher.decoder.joins == [5] and len(batcher.engine.lane.texts) == 1
        assert await both == [(1,) * 100, (2,) * 5]
        batcher.working.cancel()

    run_fake(main())


def test_with_no_short_text_to_wait_for_it_a_long_one_is_encoded_at_once() -> None:
    async def main() -> None:
        batcher = SimulatedSlots()
        first = ask(batcher, [1] * 100)
        await asyncio.sleep(2 * TOKEN_S)
        assert await ask(batcher, [2] * 100) == [(2,) * 100] and await first == [(1,) * 100]
        assert batcher.decoder.joins == [100, 100] and batcher.clock_s() < 110 * TOKEN_S
        batcher.working.cancel()

    run_fake(main())


def test_of_many_long_texts_few_wait_to_be_encoded_beside_the_steps() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=64)
        first = ask(batcher, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        others = [ask(batcher, [2] * 100) for _ in range(20)]
        await asyncio.sleep(10 * TOKEN_S)
        waiting = len(batcher.engine.lane.texts)
        assert 1 <= waiting <= 3 and len(batcher.engine.rows) == 21 - waiting
        await asyncio.gather(first, *others)
        batcher.working.cancel()

    run_fake(main())


def test_a_long_text_that_nobody_waits_for_leaves_the_lane() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=2)
        batcher.cost.base_s = 1e-9  # so that the deadline seems within reach
        running = ask(batcher, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        left, late = ask(batcher, [2] * 100), ask(batcher, [3] * 100, deadline_s=40 * TOKEN_S)
        await asyncio.sleep(2 * TOKEN_S)
        assert {text.job.tokens[0][0] for text in batcher.engine.lane.texts} == {2}
        left.cancel()
        await asyncio.sleep(3 * TOKEN_S)
        assert {text.job.tokens[0][0] for text in batcher.engine.lane.texts} == {3}
        assert await running == [(1,) * 60] and late.exception() is not None
        assert not batcher.engine.texts and not batcher.decoder.rows
        assert batcher.dropped == Counter(disconnected=1, deadline_passed=1, draining=0)
        batcher.working.cancel()

    run_fake(main())


def test_a_long_text_that_cannot_be_encoded_fails_alone() -> None:
    async def main() -> None:
        batcher = SimulatedSlots(max_batch_size=2)
        running = ask(batcher, [1] * 60)
        await asyncio.sleep(2 * TOKEN_S)
        with pytest.raises(InferenceFailed):
            await ask(batcher, [UNENCODABLE] * 100)
        assert batcher.clock_s() > 100 * TOKEN_S, "in the lane"
        assert await running == [(1,) * 60] and not batcher.engine.texts
        batcher.working.cancel()

    run_fake(main())


@pytest.mark.parametrize("bad", [POISON, UNENCODABLE])
def test_a_failing_text_fails_alone(bad: int) -> None:
    async def main() -> None:
        batcher = SimulatedSlots()
        outcomes = await asyncio.gather(
            *(ask(batcher, [first] * 9) for first in (1, bad, 2)), return_exceptions=True
        )
        assert [outcomes[0], outcomes[2]] == [[(1,) * 9], [(2,) * 9]]
        assert isinstance(outcomes[1], InferenceFailed) and isinstance(outcomes[1].__cause__, StopIteration)
        assert (batcher.answered, batcher.failed) == (2, 1)
        assert batcher.decoder.free == batcher.decoder.slots
        batcher.working.cancel()

    run_fake(main())


def test_an_engine_whose_lane_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DecodeEngine, "long_tokens", 4)
    unwedge = threading.Event()
    encode = FakeDecoder.encode

    def hang(decoder: FakeDecoder, rows: list[Row]) -> Encoded:
        if len(rows[0].source) > DecodeEngine.long_tokens:
            assert unwedge.wait(60)
        return encode(decoder, rows)

    monkeypatch.setattr(FakeDecoder, "encode", hang)

    async def main() -> None:
        metrics = BatchMetrics(CollectorRegistry())
        limits = Settings(threads=1, max_batch_size=8, engine_stall_ms=50)
        batcher = Batcher("fake", FakeTranslator(8), limits, 512, metrics, slots=True)
        await batcher.start()
        try:
            clock: Any = FakeClock()
            with pytest.raises(EngineLost):
                await batcher.infer([[1] * 3, [2] * 9], clock)
            assert await batcher.infer([[3] * 3], clock) == [(3,) * 3], "its successor answers"
            assert batcher.rows() == 0 and (batcher.answered, batcher.failed) == (1, 1)
        finally:
            unwedge.set()
            batcher.close()

    asyncio.run(main())


def test_an_engine_that_hangs_in_its_warm_up_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    unwedge = threading.Event()
    hangs: list[bool] = []
    step = FakeDecoder.step

    def hang(decoder: FakeDecoder) -> StepResult:
        if hangs:
            hangs.pop()
            assert unwedge.wait(60)
        return step(decoder)

    monkeypatch.setattr(FakeDecoder, "step", hang)

    async def main() -> None:
        unhandled: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        metrics = BatchMetrics(CollectorRegistry())
        limits = Settings(threads=1, max_batch_size=8, engine_stall_ms=50)
        batcher = Batcher("fake", FakeTranslator(8), limits, 512, metrics, slots=True)
        await batcher.start()
        hangs[:] = [True, True]
        try:
            clock: Any = FakeClock()
            with pytest.raises(EngineLost):
                await batcher.infer([[1] * 3], clock)
            assert await batcher.infer([[2] * 3], clock) == [(2,) * 3], "the third one answers"
            assert not hangs and not unhandled and (batcher.answered, batcher.failed) == (1, 1)
        finally:
            unwedge.set()
            batcher.close()

    asyncio.run(main())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("long_tokens", [4, 64])
def test_real_engines_answer_each_request_with_its_own_answer(
    threads: int, long_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DecodeEngine, "long_tokens", long_tokens)

    async def main() -> None:
        limits = Settings(threads=threads, max_batch_size=8)
        metrics = BatchMetrics(CollectorRegistry())
        batcher = Batcher("fake", FakeTranslator(8), limits, 512, metrics, slots=True)
        await batcher.start()
        try:
            for _ in range(3):
                clocks: list[Any] = [FakeClock() for _ in range(200)]
                answers = await asyncio.gather(
                    *(batcher.infer([[n] * (n % 9 + 1)], clock) for n, clock in enumerate(clocks, 100))
                )
                assert answers == [[(n,) * (n % 9 + 1)] for n in range(100, 300)]
            assert batcher.rows() == 0 and batcher.pool.healthy()
        finally:
            batcher.close()

    asyncio.run(main())
