"""Who may wait: bounds on the queue, deadlines against the measured speed, and what a refusal says."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynamic_batching.admission import FILLED_SHARE, Admission
from dynamic_batching.batch_cost import BatchCost
from dynamic_batching.batch_queue import BatchQueue
from dynamic_batching.decode_cost import DecodeCost, Steps
from dynamic_batching.errors import NotReady, Overloaded
from dynamic_batching.job import Batch, Job

TOKEN_S = 0.001
RUN_COST_TOKENS = 12
FOREVER_S = math.inf


def measured(
    run_cost_tokens: float = RUN_COST_TOKENS, token_s: float = TOKEN_S, engines: int = 1
) -> BatchCost:
    cost = BatchCost(engines)
    cost.seed([(10, (run_cost_tokens + 10) * token_s), (160, (run_cost_tokens + 160) * token_s)])
    return cost


def make(
    engines: int = 1, queue_size: int = 10, max_queue_tokens: int = 1_000, cost: BatchCost | None = None
) -> Admission:
    cost = cost or measured(engines=engines)
    return Admission(BatchQueue(64, 2_048), cost, queue_size, max_queue_tokens)


def ran(tokens: int, duration_s: float) -> Batch:
    return Batch([], tokens, 0.0, duration_s)


def fill(admission: Admission, *lengths: int) -> None:
    for length in lengths:
        admission.queue.push(Job([[1] * length], FOREVER_S), 0.0)


def retry_after_s(refusal: pytest.ExceptionInfo[NotReady]) -> int:
    assert refusal.value.status == 503 and refusal.value.headers is not None
    return int(refusal.value.headers["Retry-After"])


@given(run_cost=st.floats(0, 5_000), token_s=st.floats(1e-6, 1e-2))
def test_warm_up_finds_the_cost_of_a_run_and_of_a_token(run_cost: float, token_s: float) -> None:
    cost = measured(run_cost, token_s)
    assert cost.run_cost_tokens == pytest.approx(run_cost, abs=0.01)
    assert cost.seconds(3, 500) == pytest.approx((3 * run_cost + 500) * token_s, rel=1e-3)


@given(short_s=st.floats(1e-6, 10), long_s=st.floats(1e-6, 10))
def test_no_measured_warm_up_makes_a_cost_useless(short_s: float, long_s: float) -> None:
    cost = BatchCost(1)
    cost.seed([(10, short_s), (160, long_s)])
    assert 0 <= cost.run_cost_tokens <= 10_000
    assert 0 < cost.seconds(1, 160) < math.inf


@given(st.floats(1e-6, 1e-2), st.lists(st.integers(1, 4_096), min_size=40, max_size=60))
def test_the_cost_follows_what_finished_batches_took(token_s: float, sizes: list[int]) -> None:
    cost = measured()
    for padded in sizes:
        cost.observe(ran(padded, (RUN_COST_TOKENS + padded) * token_s))
    assert cost.seconds(1, 100) == pytest.approx(112 * token_s, rel=0.01, abs=112 * TOKEN_S * 0.8**40)
    assert cost.fastest_s == pytest.approx(min(TOKEN_S, token_s))


def test_a_queue_is_full_at_its_number_of_requests() -> None:
    admission = make(queue_size=3)
    fill(admission, 5, 5)
    admission.check([5], FOREVER_S, 0.0)
    fill(admission, 5)
    with pytest.raises(Overloaded, match="3 requests") as refusal:
        admission.check([5], FOREVER_S, 0.0)
    assert retry_after_s(refusal) == 1
    assert isinstance(admission.refusal(FOREVER_S, 0.0), Overloaded)
    assert admission.refused["queue_full"] == 2


def test_a_queue_is_full_at_its_number_of_tokens() -> None:
    admission = make(max_queue_tokens=100)
    fill(admission, 90)
    admission.check([10], FOREVER_S, 0.0)
    with pytest.raises(Overloaded, match="90 tokens"):
        admission.check([11], FOREVER_S, 0.0)
    assert admission.refused["queue_full"] == 1


def test_a_batch_request_is_refused_whole() -> None:
    admission = make(max_queue_tokens=100)
    fill(admission, 60)
    with pytest.raises(Overloaded):
        admission.check([20, 20, 20], FOREVER_S, 0.0)
    assert (admission.queue.requests, admission.queue.tokens) == (1, 60)


def test_an_empty_queue_takes_any_request() -> None:
    make(max_queue_tokens=100).check([90] * 64, FOREVER_S, 0.0)


def test_a_batch_request_counts_as_one_request() -> None:
    admission = make(queue_size=2)
    admission.queue.push(Job([[1]] * 9, FOREVER_S), 0.0)
    admission.check([1] * 9, FOREVER_S, 0.0)


def test_a_deadline_that_the_waiting_work_leaves_no_time_for_is_refused_at_once() -> None:
    admission = make()
    fill(admission, 100, 100, 100)
    needed_s = (RUN_COST_TOKENS + 350) * TOKEN_S
    remaining_s = needed_s / FILLED_SHARE
    admission.check([50], remaining_s + 0.001, 0.0)
    with pytest.raises(Overloaded, match="362 ms") as refusal:
        admission.check([50], remaining_s - 0.001, 0.0)
    assert retry_after_s(refusal) == 1
    with pytest.raises(Overloaded) as refusal:
        admission.check([50], needed_s, 4.5)
    assert retry_after_s(refusal) == 5
    assert admission.refused["deadline_unmeetable"] == 2


def test_more_engines_leave_more_time() -> None:
    needed_s = {}
    for engines in (1, 2):
        admission = make(engines)
        fill(admission, 400, 500)
        needed_s[engines] = admission.cost.needed_s([100], admission.queue, 0.0)
    assert needed_s[2] == pytest.approx(needed_s[1] / 2)


@given(
    lengths=st.lists(st.integers(1, 256), max_size=20),
    engines=st.integers(1, 4),
    token_s=st.floats(1e-7, 1.0),
)
def test_retry_after_is_the_time_in_which_the_queue_drains_in_whole_seconds(
    lengths: list[int], engines: int, token_s: float
) -> None:
    cost = BatchCost(engines)
    cost.seed([(10, 10 * token_s), (160, 160 * token_s)])
    assume(cost.run_cost_tokens < 1e-3)
    admission = make(queue_size=100, max_queue_tokens=10**6, cost=cost)
    fill(admission, *lengths)
    found = admission.retry_after_s()
    assert isinstance(found, int) and found >= 1
    drained_s = sum(lengths) * token_s / engines
    assert found - 1 <= drained_s * (1 + 1e-6) + 1e-6 or found == 1
    assert drained_s <= found * (1 + 1e-6)


@given(st.lists(st.floats(0, 1_000), max_size=30), st.floats(0.2, 100))
def test_a_slow_minute_never_shuts_an_idle_server(slow_s: list[float], remaining_s: float) -> None:
    # A mean that only finished batches correct would refuse all, run nothing, and never learn better.
    cost = measured()
    for duration_s in slow_s:
        cost.observe(ran(100, 0.2 + duration_s))
    admission = make(cost=cost)
    admission.check([100], remaining_s, 0.0)


def test_a_deadline_shorter_than_the_fastest_run_is_refused_even_when_idle() -> None:
    with pytest.raises(Overloaded):
        make().check([100], 0.05, 0.0)


def test_what_is_refused_unread_is_what_would_fit_only_if_it_were_short() -> None:
    admission = make(max_queue_tokens=100)
    assert admission.refusal(FOREVER_S, 0.0) is None
    fill(admission, 30, 30, 21)
    admission.check([19], FOREVER_S, 0.0)
    admission.max_queue_tokens += 27
    assert admission.refusal(FOREVER_S, 0.0) is None
    assert isinstance(admission.refusal(FOREVER_S, 0.0, expected=1), Overloaded)
    admission.max_queue_tokens -= 27
    refusal = admission.refusal(FOREVER_S, 0.0)
    assert isinstance(refusal, Overloaded) and refusal.detail == "81 tokens are waiting already"


def test_draining_refuses_all() -> None:
    admission = make()
    admission.draining = True
    with pytest.raises(NotReady, match="draining") as refusal:
        admission.check([1], FOREVER_S, 0.0)
    assert retry_after_s(refusal) == 1
    assert isinstance(admission.refusal(FOREVER_S, 0.0), NotReady)
    assert admission.refused["draining"] == 2


# What decoding in slots takes.


def decoding(base_s: float, row_s: float, prefill_token_s: float, slots: int = 8) -> DecodeCost:
    """A cost whose warm-up decoded 1 row and 4, of 10 source tokens each, to 20 tokens."""
    cost = DecodeCost(1, slots)
    cost.seed(
        [
            Steps(
                rows=[rows] * 20,
                seconds=[base_s + row_s * rows] * 20,
                lengths=[(10, 20)] * rows,
                prefill_tokens=10 * rows,
                prefill_s=10 * rows * prefill_token_s,
            )
            for rows in (1, 4)
        ]
    )
    return cost


@given(st.floats(1e-4, 1e-1), st.floats(1e-4, 1e-2), st.floats(1e-5, 1e-3))
def test_a_text_that_comes_alone_needs_its_own_steps(base_s: float, row_s: float, token_s: float) -> None:
    needed_s = decoding(base_s, row_s, token_s).needed_s([10], BatchQueue(8, 512), 0)
    assert needed_s == pytest.approx(20 * (base_s + row_s + token_s / 2))


def test_a_text_without_a_free_slot_waits_for_those_before_it() -> None:
    cost, queue = decoding(0.0, 0.001, 0.0), BatchQueue(8, 512)
    now_s = cost.needed_s([10], queue, 7)
    assert now_s == pytest.approx(20 * 0.008)
    assert cost.needed_s([10], queue, 8) == pytest.approx(now_s + 20 * 0.008 / 8)
    for _ in range(16):
        queue.push(Job([[1] * 10], FOREVER_S), 0.0)
    assert cost.needed_s([10], queue, 8) == pytest.approx(now_s + 17 * 20 * 0.008 / 8)
    assert cost.drain_s(queue) == pytest.approx(16 * 20 * 0.008 / 8)


def test_reports_teach_how_slow_steps_are_and_how_long_answers() -> None:
    cost = decoding(0.001, 0.001, 0.0001)
    for _ in range(200):
        cost.observe(Steps(rows=[8], seconds=[0.018], lengths=[(10, 40)]))
    assert cost.slowness == pytest.approx(2.0, rel=0.01)
    assert cost.tokens_a_source_token == pytest.approx(4.0, rel=0.01)
    assert cost.fastest == 1.0, "an idle server is judged by the best that was seen"
