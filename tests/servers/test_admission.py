"""Which requests may wait: bounds on the queue, deadlines against the measured speed, and Retry-After."""

from fake_workers import FOREVER_S, IDLE, RUN_COST_TOKENS, TOKEN_S, measured_latency, ran, request
from hypothesis import assume, given
from hypothesis import strategies as st

from dynamic_batching.admission import MAX_DEADLINE_SHARE, Admission
from dynamic_batching.latency_model import BatchLatencyModel, Load
from dynamic_batching.queue import RequestQueue
from dynamic_batching.web.errors import Refusal


def make(
    queue_size: int = 10, max_queue_tokens: int = 1_000, latency: BatchLatencyModel | None = None
) -> Admission:
    return Admission(RequestQueue(64, 2_048), latency or measured_latency(), queue_size, max_queue_tokens)


def fill(admission: Admission, *lengths: int) -> None:
    for length in lengths:
        admission.queue.push(request([1] * length), 0.0)


def check_refusal(refusal: Refusal | None, detail: str, retry_after_s: int = 1) -> None:
    assert refusal is not None and detail in refusal.detail
    assert refusal.status_code == 503 and refusal.headers == {"Retry-After": str(retry_after_s)}


def test_a_queue_is_full_at_its_number_of_requests() -> None:
    admission = make(queue_size=3)
    fill(admission, 5, 5)
    assert admission.refusal([5], FOREVER_S, IDLE) is None
    fill(admission, 5)
    check_refusal(admission.refusal([5], FOREVER_S, IDLE), "3 requests")
    check_refusal(admission.refusal_at_header(FOREVER_S, IDLE), "3 requests")
    assert admission.refused["queue_full"] == 2


def test_a_queue_is_full_at_its_number_of_tokens() -> None:
    admission = make(max_queue_tokens=100)
    fill(admission, 90)
    assert admission.refusal([10], FOREVER_S, IDLE) is None
    check_refusal(admission.refusal([11], FOREVER_S, IDLE), "90 tokens")
    assert admission.refused["queue_full"] == 1


def test_a_batch_request_is_refused_whole() -> None:
    admission = make(max_queue_tokens=100)
    fill(admission, 60)
    check_refusal(admission.refusal([20, 20, 20], FOREVER_S, IDLE), "60 tokens")
    assert (admission.queue.requests, admission.queue.tokens) == (1, 60)


def test_an_empty_queue_takes_any_request() -> None:
    assert make(max_queue_tokens=100).refusal([90] * 64, FOREVER_S, IDLE) is None


def test_a_batch_request_counts_as_one_request() -> None:
    admission = make(queue_size=2)
    admission.queue.push(request(*[[1]] * 9), 0.0)
    assert admission.refusal([1] * 9, FOREVER_S, IDLE) is None


def test_a_deadline_that_the_waiting_work_leaves_no_time_for_is_refused_at_once() -> None:
    admission = make()
    fill(admission, 100, 100, 100)
    needed_s = (RUN_COST_TOKENS + 350) * TOKEN_S
    remaining_s = needed_s / MAX_DEADLINE_SHARE
    assert admission.refusal([50], remaining_s + 0.001, IDLE) is None
    check_refusal(admission.refusal([50], remaining_s - 0.001, IDLE), "362 ms")
    check_refusal(admission.refusal([50], needed_s, Load(4.5, 0)), "4862 ms", retry_after_s=5)
    assert admission.refused["deadline_unmeetable"] == 2


@given(
    lengths=st.lists(st.integers(1, 256), max_size=20),
    workers=st.integers(1, 4),
    token_s=st.floats(1e-7, 1.0),
)
def test_retry_after_is_the_time_in_which_the_queue_drains_in_whole_seconds(
    lengths: list[int], workers: int, token_s: float
) -> None:
    latency = measured_latency(0, token_s, workers)
    assume(latency.run_cost_tokens < 1e-3)
    admission = make(queue_size=100, max_queue_tokens=10**6, latency=latency)
    fill(admission, *lengths)
    found = admission.retry_after_s()
    assert isinstance(found, int) and found >= 1
    drained_s = sum(lengths) * token_s / workers
    assert found - 1 <= drained_s * (1 + 1e-6) + 1e-6 or found == 1
    assert drained_s <= found * (1 + 1e-6)


@given(st.lists(st.floats(0, 1_000), max_size=30), st.floats(0.2, 100))
def test_a_slow_minute_never_shuts_an_idle_server(slow_s: list[float], remaining_s: float) -> None:
    # A mean that only finished batches correct would refuse all, run nothing, and never learn better.
    latency = measured_latency()
    for duration_s in slow_s:
        latency.observe(ran(100, 0.2 + duration_s))
    assert make(latency=latency).refusal([100], remaining_s, IDLE) is None


def test_a_deadline_shorter_than_the_fastest_run_is_refused_even_when_idle() -> None:
    check_refusal(make().refusal([100], 0.05, IDLE), "112 ms")


def test_what_is_refused_unread_is_what_would_fit_only_if_it_were_short() -> None:
    admission = make(max_queue_tokens=100)
    assert admission.refusal_at_header(FOREVER_S, IDLE) is None
    fill(admission, 30, 30, 21)
    assert admission.refusal([19], FOREVER_S, IDLE) is None
    admission.max_queue_tokens += 27
    assert admission.refusal_at_header(FOREVER_S, IDLE) is None
    assert admission.refusal_at_header(FOREVER_S, IDLE, expected=1) is not None
    admission.max_queue_tokens -= 27
    refusal = admission.refusal_at_header(FOREVER_S, IDLE)
    assert refusal is not None and refusal.detail == "81 tokens are waiting already"
