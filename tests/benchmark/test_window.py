"""How long a cell is measured: the rule against throughputs whose right answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure.closed_loop import closed_loop_options
from benchmark.runs.plan import Plan
from benchmark.stats.figures import stability
from locustfiles.window import STABLE_WITHIN, WINDOWS, MeasuredWindow, window_spread

P95_FLOOR = 93


def measured(answered_s: np.ndarray, duration_s: float, max_s: float) -> MeasuredWindow:
    """The window that the answers at these moments lead to; the future is not known while it is measured."""
    window = MeasuredWindow(duration_s, max_s, P95_FLOOR)
    while not window.is_enough(answered_s[answered_s < window.end_s]):
        assert window.end_s <= max_s + 1e-9
    return window


def even(rate: float, start_s: float, end_s: float) -> np.ndarray:
    return np.arange(start_s, end_s, 1 / rate)


def test_a_steady_server_is_measured_as_long_as_planned() -> None:
    window = measured(even(50, -2, 100), 30, 90)
    assert (window.start_s, window.end_s, window.extension) == (0, 30, "")


def test_a_slow_server_is_measured_until_it_has_a_p95() -> None:
    window = measured(even(2, -2, 200), 30, 90)
    assert (window.start_s, window.end_s) == (0, 50)
    assert window.extension == "measured 50 s instead of 30: fewer than 93 answers at first"


def test_a_server_too_slow_for_the_cap_says_what_is_missing() -> None:
    window = measured(even(1, -2, 200), 30, 60)
    assert (window.start_s, window.end_s) == (0, 60)
    assert window.extension == "stopped at the cap of 60 s: 60 answers, a p95 needs 93"


def test_parts_that_differ_from_what_follows_are_cut_off() -> None:
    warming = np.concatenate([even(30, -2, 10), even(60, 10, 100)])
    window = measured(warming, 30, 90)
    assert (window.start_s, window.end_s) == (10, 40)
    assert "the first 10 s cut off" in window.extension
    assert stability(window_spread(warming - window.start_s, 30)) == "stable"


def test_a_server_that_never_settles_keeps_all_that_was_measured() -> None:
    restless = np.concatenate([even(20 * 1.3**part, part * 10, part * 10 + 10) for part in range(7)])
    window = measured(restless, 30, 60)
    assert (window.start_s, window.end_s) == (0, 60)
    assert window.extension.startswith("stopped at the cap of 60 s: throughput differs by ")
    assert stability(window_spread(restless, 60)) == "unstable"


def test_without_a_cap_nothing_is_extended_and_nothing_is_said() -> None:
    window = measured(even(1, -2, 200), 30, 0)
    assert (window.end_s, window.extension) == (30, "")


def test_an_answer_at_the_end_of_a_window_is_outside() -> None:
    answered_s = even(10, 0, 9)
    assert window_spread(np.append(answered_s, 9.0), 9) == window_spread(answered_s, 9)


RATES = st.lists(st.integers(0, 60), min_size=30, max_size=30)


@given(RATES, st.sampled_from([3.0, 6.0, 9.0]), st.integers(1, 4))
def test_a_window_ends_within_its_cap_and_is_whole_or_the_last_stable_part(
    rates: list[int], duration_s: float, times: int
) -> None:
    moments = [even(rate, place, place + 1) for place, rate in enumerate(rates) if rate]
    answered_s = np.concatenate([*moments, np.array([])])
    window = measured(answered_s, duration_s, times * duration_s)
    assert duration_s <= window.end_s <= times * duration_s
    if window.first_part:
        assert window.end_s - window.start_s == pytest.approx(duration_s)
        spread = window_spread(answered_s - window.start_s, duration_s)
        assert spread is not None and spread <= STABLE_WITHIN + 1e-9
    if window.parts > WINDOWS:
        assert window.extension


def test_the_load_gets_the_cap_and_how_many_answers_a_p95_needs() -> None:
    plan = Plan(
        ("baseline",), ("sentiment",), (("unique", 1),), (1,), 1, 20.0, 3.0, 60.0, max_duration_s=90.0
    )
    (cell,) = plan.cells()
    options = closed_loop_options(plan, cell)
    assert (options["max_measure_s"], options["least_answers"]) == (90, P95_FLOOR)
