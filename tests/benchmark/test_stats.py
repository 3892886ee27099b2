"""Figures against numpy and scipy; sample floors, intervals and verdicts against simulations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from benchmark.runs.records import REQUEST_COLUMNS
from benchmark.stats.figures import figures, in_window, percentile_ms, sample_floor, stability, window_spread
from benchmark.stats.intervals import (
    FASTER,
    SAME,
    SLOWER,
    SMALLEST_EFFECT_BETWEEN_RUNS,
    TOO_FEW_ROUNDS,
    Interval,
    interval_of_rounds,
    ratio_of_rounds,
)


def requests_of(rows: list[tuple[float, float, bool]]) -> pd.DataFrame:
    columns = dict(zip(("start_s", "latency_ms", "ok"), zip(*rows, strict=True), strict=True)) if rows else {}
    frame = pd.DataFrame(columns, columns=list(REQUEST_COLUMNS))
    frame["texts"] = 1
    frame["queue_ms"] = frame["inference_ms"] = np.nan
    return frame.astype(REQUEST_COLUMNS)


def test_floors_are_the_stated_ones() -> None:
    assert [sample_floor(percentile) for percentile in (50, 95, 99)] == [8, 93, 473]


@pytest.mark.parametrize("percentile", [50, 95])
def test_a_floor_keeps_the_confidence_it_states(percentile: int) -> None:
    rng = np.random.default_rng(0)
    samples = rng.exponential(size=(4_000, sample_floor(percentile)))
    covered = reference.expon.cdf(samples.max(1)) - reference.expon.cdf(samples.min(1))
    assert (covered >= percentile / 100).mean() == pytest.approx(0.95, abs=0.02)


@given(st.integers(0, 1 << 30), st.integers(473, 2_000))
def test_percentiles_agree_with_scipy(seed: int, count: int) -> None:
    latencies = np.random.default_rng(seed).lognormal(sigma=2, size=count)
    for percentile in (50, 95, 99):
        expected = reference.scoreatpercentile(latencies, percentile)
        assert percentile_ms(pd.Series(latencies), percentile) == pytest.approx(expected)


def test_a_percentile_under_its_floor_is_not_given() -> None:
    assert percentile_ms(pd.Series([1.0] * 92), 95) is None
    assert percentile_ms(pd.Series([1.0] * 93), 95) == 1.0


ROWS = st.lists(st.tuples(st.floats(-20, 40), st.floats(0.1, 20_000), st.booleans()), max_size=80)


@given(ROWS, st.floats(1, 15), st.floats(1, 15))
def test_each_answer_falls_into_exactly_one_of_two_adjacent_windows(
    rows: list[tuple[float, float, bool]], first_s: float, second_s: float
) -> None:
    requests = requests_of(rows)
    later = requests.assign(start_s=requests["start_s"] - first_s)
    both = len(in_window(requests, first_s)) + len(in_window(later, second_s))
    answered_s = requests["start_s"] + requests["latency_ms"] / 1e3
    edge = ((answered_s - first_s).abs() < 1e-9) | ((answered_s - first_s - second_s).abs() < 1e-9)
    assert abs(both - len(in_window(requests, first_s + second_s))) <= edge.sum()


@given(ROWS, st.floats(1, 30))
def test_throughput_counts_right_answers_only(
    rows: list[tuple[float, float, bool]], duration_s: float
) -> None:
    found = figures(requests_of(rows), duration_s)
    right = [row for row in rows if row[2] and 0 <= row[0] + row[1] / 1e3 < duration_s]
    assert found["requests"] - found["failures"] == len(right)
    assert found["throughput_rps"] == pytest.approx(len(right) / duration_s)
    assert found["max_ms"] == (max(row[1] for row in right) if right else None)


def test_hit_rate_counts_only_answers_that_name_their_cache() -> None:
    requests = requests_of([(1.0, 10.0, True)] * 4)
    assert figures(requests, 5.0)["cache_hit_rate"] is None
    requests["cache"] = pd.array(["hit", "hit", "miss", "coalesced"], dtype="string")
    assert figures(requests, 5.0)["cache_hit_rate"] == 0.5


# With n simulations of a 95 % interval the share that holds the truth has a standard error of
# sqrt(0.95 * 0.05 / n): 0.005 for 2,000.
def coverage(intervals: list[Interval | None], truth: float) -> float:
    return float(np.mean([one is not None and one.low <= truth <= one.high for one in intervals]))


@pytest.mark.parametrize("rounds", [3, 5, 8])
def test_an_interval_of_rounds_holds_the_truth_95_times_in_100(rounds: int) -> None:
    values = 7 * np.exp(0.1 * np.random.default_rng(0).standard_normal((2_000, rounds)))
    assert coverage([interval_of_rounds(list(one)) for one in values], 7) == pytest.approx(0.95, abs=0.015)


def test_an_interval_of_rounds_is_scipys() -> None:
    values = [9.0, 10.0, 12.0, 10.5, 11.0]
    logs = np.log(values)
    low, high = np.exp(reference.t.interval(0.95, 4, logs.mean(), reference.sem(logs)))
    interval = interval_of_rounds(values)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_two_rounds_have_a_ratio_and_neither_interval_nor_verdict() -> None:
    ratio = ratio_of_rounds([1.0, 1.0], [2.0, 2.0])
    assert ratio.value == 2 and ratio.interval is None
    assert ratio.verdict(True) == TOO_FEW_ROUNDS == "n < 3 rounds"


@pytest.mark.parametrize("rounds", [3, 5])
def test_what_falls_on_both_servers_of_a_round_does_not_widen_their_ratio(rounds: int) -> None:
    rng = np.random.default_rng(6)
    intervals = []
    for _ in range(2_000):
        drift = rng.normal(0, 0.2, rounds)
        first, second = (np.exp(drift + rng.normal(0, 0.01, rounds)) for _ in range(2))
        intervals.append(ratio_of_rounds(list(first), list(second * 1.3)).interval)
    assert coverage(intervals, 1.3) == pytest.approx(0.95, abs=0.015)
    assert np.median([one.high / one.low for one in intervals if one]) < 1.15


@pytest.mark.parametrize(("rounds", "caught"), [(3, 0.75), (5, 0.99)])
def test_a_server_slowed_by_15_percent_is_caught_in_interleaved_rounds(rounds: int, caught: float) -> None:
    rng = np.random.default_rng(9)
    verdicts: dict[float, list[str]] = {1.0: [], 0.85: []}
    for speed, of_speed in verdicts.items():
        for _ in range(1_000):
            first, second = (np.exp(rng.normal(0, 0.02, rounds)) for _ in range(2))
            of_speed.append(ratio_of_rounds(list(first), list(speed * second)).verdict(True))
    assert verdicts[1.0].count(SAME) > 970
    assert verdicts[0.85].count(SLOWER) > 1_000 * caught
    assert FASTER not in verdicts[0.85]


def test_two_runs_on_a_machine_that_drifted_by_8_percent_get_no_verdict() -> None:
    first, second = [10.0, 10.1, 9.9, 10.0, 10.05], [9.2, 9.3, 9.1, 9.2, 9.25]
    assert ratio_of_rounds(first, second).verdict(True) == SLOWER
    assert ratio_of_rounds(first, second).verdict(True, SMALLEST_EFFECT_BETWEEN_RUNS) == SAME


def test_a_difference_below_the_smallest_effect_gets_no_verdict_however_sure() -> None:
    first, second = [10.0, 10.01, 9.99, 10.0, 10.0], [9.7, 9.71, 9.69, 9.7, 9.7]
    ratio = ratio_of_rounds(first, second)
    assert ratio.interval is not None and ratio.interval.high < 1
    assert ratio.verdict(True, 0.05) == SAME
    assert ratio.verdict(True, 0.02) == SLOWER
    assert ratio.verdict(False, 0.02) == FASTER


SPEEDS = st.lists(st.tuples(st.floats(0.01, 1e5), st.floats(0.01, 1e5)), min_size=3, max_size=8)


@given(SPEEDS, st.booleans())
def test_a_ratio_turned_over_is_that_of_the_swapped_measurements(
    rounds: list[tuple[float, float]], higher_is_faster: bool
) -> None:
    first, second = (list(one) for one in zip(*rounds, strict=True))
    ahead, back = ratio_of_rounds(first, second), ratio_of_rounds(second, first)
    assert ahead.value * back.value == pytest.approx(1)
    assert ahead.interval is not None and back.interval is not None
    assert ahead.interval.low * back.interval.high == pytest.approx(1)
    assert ahead.interval.low <= ahead.value * (1 + 1e-9) and ahead.value <= ahead.interval.high * (1 + 1e-9)
    opposite = {FASTER: SLOWER, SLOWER: FASTER, SAME: SAME}
    edges = (ahead.value / 1.05, ahead.value * 1.05, ahead.interval.low, ahead.interval.high)
    if min(abs(np.log(edge)) for edge in edges) > 1e-9:
        assert ahead.verdict(higher_is_faster) == opposite[back.verdict(higher_is_faster)]


def test_throughput_that_changes_within_the_window_is_unstable() -> None:
    even = pd.Series(np.linspace(0, 30, 3_000, endpoint=False))
    assert window_spread(even, 30) == 0
    assert stability(window_spread(even, 30)) == "stable"
    warming = pd.concat([even[even >= 10], even[even < 10][::2]])
    assert window_spread(warming, 30) == pytest.approx(1.0)
    assert stability(window_spread(warming, 30)) == "unstable"
    assert stability(window_spread(even[::40], 30)) == "too few"
    assert stability(window_spread(even[:0], 30)) == "too few"


def test_a_cells_record_holds_its_spread() -> None:
    requests = requests_of([(0.01 * place, 1.0, True) for place in range(300)])
    assert figures(requests, 3.0)["window_spread"] == pytest.approx(0.01, abs=0.011)
