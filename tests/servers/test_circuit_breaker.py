"""The circuit breaker, on a clock that jumps from timer to timer."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import run_fake

from optimized.circuit_breaker import MAX_DELAY_S, MIN_DELAY_S, PROVEN_DELAYS, CircuitBreaker


class Service:
    """What the breaker guards: broken until `works_from_s`, with an error of `reason`."""

    def __init__(self, works_from_s: float, reason: Callable[[], str] = lambda: "broken") -> None:
        self.works_from_s = works_from_s
        self.reason = reason
        self.called_s: list[float] = []
        self.breaker = CircuitBreaker("cache", str)

    async def call(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self.called_s.append(now_s)
        if now_s < self.works_from_s:
            raise OSError(self.reason())

    async def use(self) -> bool:
        """Calls it unless the breaker is open; whether it was called and worked."""
        if self.breaker.is_open:
            return False
        try:
            await self.call()
        except OSError as error:
            self.breaker.open(error, self.call)
            return False
        return True

    async def until_closed(self) -> None:
        while self.breaker.is_open:
            await asyncio.sleep(0.1)


def lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.message for record in caplog.records)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "optimized")


def test_what_fails_is_retried_ever_more_rarely_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(works_from_s=300.0)

    async def scenario() -> None:
        assert not await service.use()
        await service.until_closed()
        assert await service.use()

    run_fake(scenario())
    waits = [after - before for before, after in pairwise(service.called_s[:-1])]
    assert waits[0] == pytest.approx(MIN_DELAY_S)
    assert waits[:5] == pytest.approx([MIN_DELAY_S * 2**n for n in range(5)])
    assert waits[5:] == pytest.approx([MAX_DELAY_S] * len(waits[5:])) and len(waits) > 20
    assert lines(caplog, "cache off: broken") == lines(caplog, "cache on again") == 1
    assert len(caplog.records) == 2


def test_each_reason_is_logged_once_while_it_is_open(caplog: pytest.LogCaptureFixture) -> None:
    reasons = ["no route", "loading", "no route", "loading"] * 10
    service = Service(300.0, lambda: reasons[len(service.called_s) - 1])

    async def scenario() -> None:
        await service.use()
        await service.until_closed()

    run_fake(scenario())
    assert [record.message for record in caplog.records] == [
        "cache off: no route",
        "cache off: loading",
        "cache on again",
    ]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0.001, 60), st.floats(0, 60)), min_size=2, max_size=20))
def test_it_starts_over_only_with_what_has_proven_to_work(times_s: list[tuple[float, float]]) -> None:
    """What works for a moment, now and then, is retried no more often than what never works."""
    service = Service(0.0)

    async def scenario() -> None:
        last_wait_s, worked_s = 0.0, math.inf
        for works_s, broken_s in times_s:
            opened_s = asyncio.get_running_loop().time()
            service.works_from_s = opened_s + broken_s + 0.001
            service.called_s = []
            await service.use()
            await service.until_closed()
            waits = [after - before for before, after in pairwise(service.called_s)]
            proven = worked_s >= PROVEN_DELAYS * last_wait_s
            assert waits[0] == pytest.approx(MIN_DELAY_S if proven else min(2 * last_wait_s, MAX_DELAY_S))
            assert sum(waits) <= broken_s + MAX_DELAY_S + 0.1
            last_wait_s = waits[-1]
            await asyncio.sleep(works_s)
            worked_s = asyncio.get_running_loop().time() - service.called_s[-1]

    run_fake(scenario())


def test_an_error_that_nobody_foresaw_does_not_end_the_retries() -> None:
    async def scenario() -> None:
        outcomes: list[Any] = [KeyError("a"), RuntimeError(), None]

        async def retry() -> None:
            if error := outcomes.pop(0):
                raise error

        breaker = CircuitBreaker("cache", repr)
        breaker.open(OSError(), retry)
        while breaker.is_open:
            await asyncio.sleep(0.1)
        assert not outcomes

    run_fake(scenario())


def test_a_stopped_breaker_retries_no_more() -> None:
    async def scenario() -> None:
        async def retry() -> Awaitable[None]:
            raise AssertionError("it was retried")

        breaker = CircuitBreaker("cache", repr)
        breaker.open(OSError(), retry)
        await breaker.stop()
        await asyncio.sleep(100)
        assert breaker.is_open

    run_fake(scenario())
