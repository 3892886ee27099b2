"""The lane beside the steps, on its real thread: every text is collected once, unless nobody waits for it."""

import math
import os
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dynamic_batching.job import Job, Text
from dynamic_batching.prefill_lane import Prefill, PrefillLane
from dynamic_batching.row import Encoded, Row
from dynamic_batching.scheduling import PREFILL_NICE

WITHIN_S = 20.0


def text(length: int = 100) -> Text:
    return Text(Job([[1] * length], math.inf), 0, length)


def row(of: Text) -> Row:
    return Row(of, [1] * of.length, of.length)


class Waiting:
    """A lane and what it was told: `encode` runs on its thread, and `collect` waits for `count` to end."""

    def __init__(self, encode: Callable[[list[Row]], Encoded]) -> None:
        self.woken = threading.Semaphore(0)
        self.lane = PrefillLane(encode, self.woken.release, time.perf_counter, "lane")

    def submit(self, one: Text) -> None:
        self.lane.submit(one, row(one), 1.5)

    def collect(self, count: int) -> list[tuple[Prefill, float]]:
        for _ in range(count):
            assert self.woken.acquire(timeout=WITHIN_S)
        return self.lane.collect()


def test_texts_are_encoded_in_their_order_and_collected_once() -> None:
    threads: set[str] = set()

    def encode(rows: list[Row]) -> Encoded:
        threads.add(threading.current_thread().name)
        return {one.key: ([], 0, len(one.source)) for one in rows}

    waiting, texts = Waiting(encode), [text(length) for length in (100, 70, 200)]
    for one in texts:
        waiting.submit(one)
    assert waiting.lane.slots == 3
    found = waiting.collect(3)
    assert [(prefill.text, at) for prefill, at in found] == [(one, 1.5) for one in texts]
    assert [prefill.outcome for prefill, _ in found] == [{one: ([], 0, one.length)} for one in texts]
    assert threads == {"lane"}
    assert not waiting.lane.texts and not waiting.lane.ended and not waiting.lane.collect()
    waiting.lane.close()


def test_what_encoding_raises_is_an_outcome_and_the_next_text_goes_on() -> None:
    def encode(rows: list[Row]) -> Encoded:
        if len(rows[0].source) == 100:
            raise MemoryError("no room")
        return {}

    waiting = Waiting(encode)
    waiting.submit(text(100))
    waiting.submit(text(70))
    bad, good = (prefill.outcome for prefill, _ in waiting.collect(2))
    assert isinstance(bad, MemoryError) and good == {}
    waiting.lane.close()


def test_a_discarded_text_is_not_collected_and_not_encoded_if_it_waits() -> None:
    go_on, encoded = threading.Event(), []

    def encode(rows: list[Row]) -> Encoded:
        assert go_on.wait(WITHIN_S)
        encoded.append(rows[0].key)
        return {}

    waiting = Waiting(encode)
    running, behind, last = text(), text(), text()
    for one in (running, behind, last):
        waiting.submit(one)
    waiting.lane.discard(running)
    waiting.lane.discard(behind)
    go_on.set()
    found: list[Any] = []
    while not found:
        found = waiting.collect(1)
    assert [prefill.text for prefill, _ in found] == [last] and behind not in encoded
    waiting.lane.close()


def test_a_text_that_is_encoded_for_long_shows_since_when() -> None:
    go_on, began = threading.Event(), threading.Event()

    def encode(rows: list[Row]) -> Encoded:
        began.set()
        assert go_on.wait(WITHIN_S)
        return {}

    waiting, before_s = Waiting(encode), time.perf_counter()
    assert waiting.lane.running_since_s is None
    waiting.submit(text())
    assert began.wait(WITHIN_S)
    since_s = waiting.lane.running_since_s
    assert since_s is not None and before_s <= since_s <= time.perf_counter()
    go_on.set()
    waiting.collect(1)
    assert waiting.lane.running_since_s is None
    waiting.lane.close()


@pytest.mark.skipif(
    platform.system() != "Linux", reason="a thread has a nice value of its own on Linux alone"
)
def test_the_lane_gives_way_and_nobody_else_does() -> None:
    nice: list[int] = []

    def encode(rows: list[Row]) -> Encoded:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return {}

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    waiting = Waiting(encode)
    waiting.submit(text())
    waiting.collect(1)
    waiting.lane.close()
    assert nice == [min(before + PREFILL_NICE, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
