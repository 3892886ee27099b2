"""The prefill worker on its real thread: every text is collected once, unless its request has ended."""

import os
import platform
import threading
import time
from collections.abc import Callable

import pytest
from fake_workers import sequence

from dynamic_batching.cpu_scheduling import PREFILL_NICE
from dynamic_batching.decoder import Encoded
from dynamic_batching.prefill_worker import Prefill, PrefillWorker
from dynamic_batching.sequence import Sequence

WITHIN_S = 20.0


def text(length: int = 100) -> Sequence:
    return sequence([1] * length)


class Waiting:
    """A prefill worker: `encode` runs on its thread, and `collect` waits for `count` texts to be encoded."""

    def __init__(self, encode: Callable[[list[Sequence]], Encoded]) -> None:
        self.encoded = threading.Semaphore(0)
        self.worker = PrefillWorker(encode, self.encoded.release, time.perf_counter, "prefill")

    def collect(self, count: int) -> list[Prefill]:
        for _ in range(count):
            assert self.encoded.acquire(timeout=WITHIN_S)
        return self.worker.collect()


def test_texts_are_encoded_in_their_order_and_collected_once() -> None:
    threads: set[str] = set()

    def encode(sequences: list[Sequence]) -> Encoded:
        threads.add(threading.current_thread().name)
        return {each: ([], 0, len(each.source)) for each in sequences}

    waiting, texts = Waiting(encode), [text(length) for length in (100, 70, 200)]
    for each in texts:
        waiting.worker.submit(each)
    assert waiting.worker.slots == 3
    found = waiting.collect(3)
    assert [prefill.sequence for prefill in found] == texts
    assert [prefill.outcome for prefill in found] == [{each: ([], 0, len(each.source))} for each in texts]
    assert threads == {"prefill"}
    assert not waiting.worker.sequences and not waiting.worker.ready and not waiting.worker.collect()
    waiting.worker.close()


def test_what_encoding_raises_is_an_outcome_and_the_next_text_is_encoded() -> None:
    def encode(sequences: list[Sequence]) -> Encoded:
        if len(sequences[0].source) == 100:
            raise MemoryError("no room")
        return {}

    waiting = Waiting(encode)
    waiting.worker.submit(text(100))
    waiting.worker.submit(text(70))
    bad, good = (prefill.outcome for prefill in waiting.collect(2))
    assert isinstance(bad, MemoryError) and good == {}
    waiting.worker.close()


def test_a_discarded_text_is_not_collected_and_not_encoded_if_it_waits() -> None:
    go_on, encoded = threading.Event(), []

    def encode(sequences: list[Sequence]) -> Encoded:
        assert go_on.wait(WITHIN_S)
        encoded.append(sequences[0])
        return {}

    waiting = Waiting(encode)
    running, behind, last = text(), text(), text()
    for each in (running, behind, last):
        waiting.worker.submit(each)
    waiting.worker.discard(running)
    waiting.worker.discard(behind)
    go_on.set()
    found: list[Prefill] = []
    while not found:
        found = waiting.collect(1)
    assert [prefill.sequence for prefill in found] == [last] and behind not in encoded
    waiting.worker.close()


def test_a_text_that_is_encoded_for_long_shows_since_when() -> None:
    go_on, began = threading.Event(), threading.Event()

    def encode(sequences: list[Sequence]) -> Encoded:
        began.set()
        assert go_on.wait(WITHIN_S)
        return {}

    waiting, before_s = Waiting(encode), time.perf_counter()
    assert waiting.worker.running_since_s is None
    waiting.worker.submit(text())
    assert began.wait(WITHIN_S)
    since_s = waiting.worker.running_since_s
    assert since_s is not None and before_s <= since_s <= time.perf_counter()
    go_on.set()
    waiting.collect(1)
    assert waiting.worker.running_since_s is None
    waiting.worker.close()


@pytest.mark.skipif(
    platform.system() != "Linux", reason="a thread has a nice value of its own on Linux alone"
)
def test_the_prefill_thread_runs_in_the_background_and_no_other_does() -> None:
    nice: list[int] = []

    def encode(sequences: list[Sequence]) -> Encoded:
        nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return {}

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    waiting = Waiting(encode)
    waiting.worker.submit(text())
    waiting.collect(1)
    waiting.worker.close()
    assert nice == [min(before + PREFILL_NICE, 19)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
