"""The result cache without Redis: identical texts are computed once, whoever comes and leaves meanwhile."""

import asyncio
import threading
from typing import Any

import pytest
from cache_helpers import Counts, FakeModel, Tokens, all_wait, ask, make_cache, run, started
from hypothesis import given
from hypothesis import strategies as st

from optimized.thread_pool import ThreadPool
from optimized.web.errors import DeadlineExceeded, InvalidInput
from optimized.web.request_context import RequestContext

TEXTS = st.lists(st.text("abcd", min_size=1, max_size=2), min_size=1, max_size=12)


@given(requests=st.lists(TEXTS, min_size=1, max_size=10))
def test_requests_at_once_get_their_own_answers_and_each_text_is_computed_once(
    requests: list[list[str]],
) -> None:
    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        cache = make_cache(counts=counts)
        model.go_on.clear()
        tasks = [started(cache, model, *texts) for texts in requests]
        await all_wait()
        model.go_on.set()
        for texts, task in zip(requests, tasks, strict=True):
            answers, outcome = await task
            assert answers == [text.upper() for text in texts]
            assert outcome in ("miss", "coalesced")
        distinct = {text for texts in requests for text in texts}
        assert sorted(model.computed) == sorted(distinct)
        assert counts.of("texts", outcome="miss") == len(distinct)
        assert not cache.claims

    run(scenario())


def test_the_request_that_asked_first_may_be_cancelled_and_the_others_are_answered() -> None:
    async def scenario() -> None:
        model, cache = FakeModel(), make_cache()
        model.go_on.clear()
        first = started(cache, model, "a")
        await all_wait()
        second = started(cache, model, "a")
        await all_wait()
        first.cancel()
        await all_wait()
        model.go_on.set()
        assert await second == (["A"], "coalesced")
        assert first.cancelled() and model.computed == ["a"]

    run(scenario())


def test_what_no_request_waits_for_is_not_computed() -> None:
    async def scenario() -> None:
        model, cache = FakeModel(), make_cache()
        model.go_on.clear()
        tasks = []
        for texts in ("ab", "bc", "c", "d"):
            tasks.append(started(cache, model, *texts))
            await all_wait()
        for index in (0, 3):
            tasks[index].cancel()
        # Before the cancelled computation has ended, another request asks for its text.
        again = started(cache, model, "d")
        await all_wait()
        model.go_on.set()
        assert await tasks[1] == (["B", "C"], "miss") and await tasks[2] == (["C"], "coalesced")
        assert await again == (["D"], "miss")
        # "a" was computed together with "b", which the second waited for.
        assert sorted(model.computed) == ["a", "b", "c", "d"] and not cache.claims

    run(scenario())


def test_a_text_whose_request_has_expired_takes_no_time_of_an_inference_thread() -> None:
    async def scenario() -> None:
        pool, cache, inferred = ThreadPool(1, max_batch_tokens=100), make_cache(), []
        begun, go_on = threading.Event(), threading.Event()

        def infer(batch: list[Tokens]) -> list[str]:
            inferred.append(["".join(map(chr, tokens)) for tokens in batch])
            begun.set()
            go_on.wait(10)
            return [text.upper() for text in inferred[-1]]

        class PooledModel(FakeModel):
            async def compute(self, batch: list[Tokens]) -> list[str]:
                return await pool.run(infer, batch, 1, RequestContext())

        model = PooledModel()
        first = started(cache, model, "first")
        await asyncio.to_thread(begun.wait, 10)
        with pytest.raises(DeadlineExceeded):
            await ask(cache, model, "late", timeout_s=0.01)
        last = started(cache, model, "last")
        # By then the expired text has left the pool's queue.
        await all_wait()
        go_on.set()
        assert await first == (["FIRST"], "miss") and await last == (["LAST"], "miss")
        assert inferred == [["first"], ["last"]]
        pool.close()

    run(scenario())


class SlowStore:
    """Holds nothing, and says so once it may; keeps nothing."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def get(self, keys: list[bytes]) -> list[None]:
        await self.go_on.wait()
        return [None] * len(keys)

    def put(self, key: bytes, value: bytes) -> None: ...


def test_a_request_that_waits_for_the_store_keeps_what_it_needs_of_another_alive() -> None:
    async def scenario() -> None:
        model, store = FakeModel(), SlowStore()
        cache = make_cache(store)
        model.go_on.clear()
        store.go_on.set()
        first = started(cache, model, "a")
        await all_wait()
        store.go_on.clear()
        second = started(cache, model, "a", "b")
        await all_wait()
        first.cancel()
        await all_wait()
        store.go_on.set()
        model.go_on.set()
        assert await second == (["A", "B"], "miss")
        assert sorted(model.computed) == ["a", "b"], "a text was computed twice"

    run(scenario())


def test_a_failure_reaches_all_requests_that_wait_and_no_later_one() -> None:
    async def scenario() -> None:
        model, cache = FakeModel(), make_cache()
        model.error = RuntimeError("broken")
        model.go_on.clear()
        waiting = [started(cache, model, "a") for _ in range(3)]
        await all_wait()
        model.go_on.set()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, RuntimeError) for error in errors)
        model.error = None
        assert await ask(cache, model, "a") == (["A"], "miss")

    run(scenario())


def test_a_text_that_fails_in_a_batch_fails_no_request_that_waits_for_another() -> None:
    class FailsOnX(FakeModel):
        async def compute(self, batch: list[Tokens]) -> list[str]:
            answers = await super().compute(batch)
            if "X" in answers:
                raise RuntimeError("broken")
            return answers

    async def scenario() -> None:
        model: Any = FailsOnX()
        cache = make_cache()
        model.go_on.clear()
        batch = started(cache, model, "a", "x", "b")
        await all_wait()
        others = [started(cache, model, text) for text in "axb"]
        await all_wait()
        model.go_on.set()
        a, x, b = await asyncio.gather(*others, return_exceptions=True)
        assert (a, b) == ((["A"], "coalesced"), (["B"], "coalesced"))
        assert isinstance(x, RuntimeError)
        with pytest.raises(RuntimeError, match="broken"):
            await batch
        assert not cache.claims

    run(scenario())


def test_a_text_that_is_refused_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        model, cache = FakeModel(), make_cache()
        with pytest.raises(InvalidInput, match="at most 8 tokens, not 9"):
            await ask(cache, model, "a", "b" * 9)
        assert not model.computed and not cache.claims
        assert await ask(cache, model, "a") == (["A"], "miss")

    run(scenario())
