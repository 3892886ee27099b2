"""What the latency models learn of batches and of decoding in slots, and the waits that they estimate."""

import math

import pytest
from fake_workers import IDLE, RUN_COST_TOKENS, TOKEN_S, measured_latency, ran, request
from hypothesis import given
from hypothesis import strategies as st

from dynamic_batching.latency_model import BatchLatencyModel, DecodeLatencyModel, Load
from dynamic_batching.queue import RequestQueue
from dynamic_batching.sequence import Steps


@given(run_cost=st.floats(0, 5_000), token_s=st.floats(1e-6, 1e-2))
def test_warm_up_finds_the_cost_of_a_run_and_of_a_token(run_cost: float, token_s: float) -> None:
    latency = measured_latency(run_cost, token_s)
    assert latency.run_cost_tokens == pytest.approx(run_cost, abs=0.01)
    assert latency.seconds(3, 500) == pytest.approx((3 * run_cost + 500) * token_s, rel=1e-3)


@given(small_s=st.floats(1e-6, 10), large_s=st.floats(1e-6, 10))
def test_no_measured_warm_up_makes_a_model_useless(small_s: float, large_s: float) -> None:
    latency = BatchLatencyModel(1)
    latency.seed([ran(10, small_s), ran(160, large_s)])
    assert 0 <= latency.run_cost_tokens <= 10_000
    assert 0 < latency.seconds(1, 160) < math.inf


@given(st.floats(1e-6, 1e-2), st.lists(st.integers(1, 4_096), min_size=40, max_size=60))
def test_the_model_follows_what_finished_batches_took(token_s: float, sizes: list[int]) -> None:
    latency = measured_latency()
    for tokens in sizes:
        latency.observe(ran(tokens, (RUN_COST_TOKENS + tokens) * token_s))
    assert latency.seconds(1, 100) == pytest.approx(112 * token_s, rel=0.01, abs=112 * TOKEN_S * 0.8**40)
    assert latency.fastest_s == pytest.approx(min(TOKEN_S, token_s))


def test_more_workers_leave_more_time() -> None:
    needed_s = {}
    for workers in (1, 2):
        queue = RequestQueue(64, 2_048)
        for length in (400, 500):
            queue.push(request([1] * length), 0.0)
        needed_s[workers] = measured_latency(workers=workers).needed_s([100], queue, IDLE)
    assert needed_s[2] == pytest.approx(needed_s[1] / 2)


def decoding(base_s: float, row_s: float, prefill_token_s: float, slots: int = 8) -> DecodeLatencyModel:
    """A model whose warm-up decoded 1 row and 4, of 10 source tokens each, to 20 tokens."""
    latency = DecodeLatencyModel(1, slots)
    latency.seed(
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
    return latency


@given(st.floats(1e-4, 1e-1), st.floats(1e-4, 1e-2), st.floats(1e-5, 1e-3))
def test_a_sequence_that_comes_alone_needs_its_own_steps(base_s: float, row_s: float, token_s: float) -> None:
    needed_s = decoding(base_s, row_s, token_s).needed_s([10], RequestQueue(8, 512), IDLE)
    assert needed_s == pytest.approx(20 * (base_s + row_s + token_s / 2))


def test_a_sequence_without_a_free_slot_waits_for_those_before_it() -> None:
    latency, queue = decoding(0.0, 0.001, 0.0), RequestQueue(8, 512)
    now_s = latency.needed_s([10], queue, Load(0.0, 7))
    assert now_s == pytest.approx(20 * 0.008)
    assert latency.needed_s([10], queue, Load(0.0, 8)) == pytest.approx(now_s + 20 * 0.008 / 8)
    for _ in range(16):
        queue.push(request([1] * 10), 0.0)
    assert latency.needed_s([10], queue, Load(0.0, 8)) == pytest.approx(now_s + 17 * 20 * 0.008 / 8)
    assert latency.drain_s(queue) == pytest.approx(16 * 20 * 0.008 / 8)


def test_reports_tell_how_slow_steps_are_and_how_long_answers() -> None:
    latency = decoding(0.001, 0.001, 0.0001)
    for _ in range(200):
        latency.observe(Steps(rows=[8], seconds=[0.018], lengths=[(10, 40)]))
    assert latency.slowdown == pytest.approx(2.0, rel=0.01)
    assert latency.new_tokens_per_source_token == pytest.approx(4.0, rel=0.01)
    assert latency.min_slowdown == 1.0, "an idle server is judged by the best that was seen"
