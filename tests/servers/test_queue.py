"""The queue: which sequences leave together, in which order, and when a batch is due."""

import random
from collections import Counter

import pytest
from fake_workers import FOREVER_S, RecordingQueue, request
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_batching.queue import RequestQueue
from dynamic_batching.sequence import Request


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    max_size=st.integers(1, 9),
    max_tokens=st.integers(4, 400),
)
def test_no_sequence_waits_for_more_batches_than_sequences_were_before_it(
    seed: int, max_size: int, max_tokens: int
) -> None:
    draw = random.Random(seed)
    queue = RecordingQueue(max_size, max_tokens)
    waiting: dict[Request, int] = {}
    scheduled: Counter[Request] = Counter()
    for now_s in range(300):
        for _ in range(draw.randrange(4)):
            texts = [[1] * draw.randrange(1, 60) for _ in range(draw.choice([1, 1, 1, 5]))]
            pushed = request(*texts, deadline_s=now_s + draw.choice([1, 20, FOREVER_S]))
            queue.push(pushed, now_s)
            waiting[pushed] = len(texts)
        if waiting and draw.random() < 0.2:
            dropped = draw.choice(list(waiting))
            queue.drop(dropped)
            del waiting[dropped]
        batch, expired = queue.schedule(now_s)
        for each in expired:
            del waiting[each]
        for its in [sequence.request for sequence in batch.sequences] if batch else []:
            scheduled[its] += 1
            assert scheduled[its] <= len(its.sequences)
            if its in waiting:
                waiting[its] -= 1
                if not waiting[its]:
                    del waiting[its]
        assert (queue.requests, queue.sequences) == (len(waiting), sum(waiting.values()))
        assert queue.tokens == sum(each.queued_tokens for each in waiting)
    while queue.sequences:
        queue.schedule(300)
    assert (queue.requests, queue.tokens) == (0, 0)


def test_what_would_end_after_its_deadline_is_dropped_before_it_runs() -> None:
    queue = RequestQueue(8, 2_048)
    late, timely = request([1], deadline_s=10.9), request([1], deadline_s=11.1)
    queue.push(late, 10.0)
    queue.push(timely, 10.0)
    batch, expired = queue.schedule(10.0, run_s=1.0)
    assert batch is not None and [sequence.request for sequence in batch.sequences] == [timely]
    assert expired == [late] and late.dropped and queue.requests == 0


def test_a_batch_takes_no_more_sequences_than_there_are_free_slots() -> None:
    queue = RequestQueue(8, 2_048)
    for _ in range(5):
        queue.push(request([1]), 0.0)
    batch, _ = queue.schedule(0.0, free_slots=3)
    assert batch is not None and len(batch.sequences) == 3 and queue.sequences == 2


def test_dropped_sequences_do_not_pile_up() -> None:
    queue = RequestQueue(8, 2_048)
    for _ in range(1_000):
        dropped = request([1])
        queue.push(dropped, 0.0)
        queue.drop(dropped)
    assert len(queue._waiting) < 100


def test_the_wait_for_more_begins_with_the_first_sequence() -> None:
    queue = RequestQueue(3, 2_048, max_wait_s=5.0)
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
    queue = RequestQueue(3, 2_048)
    queue.push(request([1]), 10.0)
    assert queue.due_s() == 10.0


def test_a_wait_ends_when_more_is_due_and_else_by_a_wake_up_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = RequestQueue(3, 2_048, max_wait_s=5.0)
    timeouts: list[float | None] = []
    monkeypatch.setattr(queue.lock, "wait", timeouts.append)
    queue.wait(10.0)
    queue.push(request([1]), 10.0)
    queue.wait(11.0)
    # What is due, and yet waits, waits for slots: without a wake-up it would be looked at over and over.
    queue.wait(15.0)
    queue.wait(16.0)
    assert timeouts == [None, 4.0, None, None]
