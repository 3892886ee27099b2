"""Figures against numpy and scipy; sample floors, intervals and verdicts against simulations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference
from scipy.signal import lfilter

from benchmark.runs.records import REQUEST_COLUMNS
from benchmark.stats import blocks
from benchmark.stats.blocks import Estimate, percentile_estimate, rate_estimate
from benchmark.stats.figures import figures, in_window, percentile_ms, sample_floor, stability, window_spread
from benchmark.stats.intervals import (
    DRIFT,
    FASTER,
    SAME,
    SLOWER,
    Interval,
    of_blocks,
    of_rounds,
    ratio_of_blocks,
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


def steady_cell(rng: np.random.Generator, service_s: float, users: int, duration_s: float) -> pd.DataFrame:
    """The requests of a closed loop on one server that answers them in turn, after a warm-up."""
    count = int(2 * duration_s / service_s) + 4 * users
    answered_s = np.cumsum(service_s * rng.lognormal(-0.08, 0.4, count)) - 3 * users * service_s
    asked_s = np.concatenate([np.full(users, answered_s[0] - service_s), answered_s[:-users]])
    rows = list(zip(asked_s, (answered_s - asked_s) * 1e3, [True] * count, strict=True))
    return in_window(requests_of(rows), duration_s)


def moments(requests: pd.DataFrame) -> np.ndarray:
    return (requests["start_s"] + requests["latency_ms"] / 1e3).to_numpy()


# With n simulations of a 95 % interval the share that holds the truth has a standard error of
# sqrt(0.95 * 0.05 / n): 0.005 for 2,000, 0.0084 for 672.
def held(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([one.low <= truth <= one.high for one in intervals]))


@pytest.mark.parametrize("repeats", [5, 8])
def test_a_t_interval_of_repeats_holds_the_truth_95_times_in_100(repeats: int) -> None:
    values = 7 * np.exp(0.1 * np.random.default_rng(0).standard_normal((2_000, repeats)))
    found = [of_rounds(list(one)) for one in values]
    assert held(found, 7) == pytest.approx(0.95, abs=0.015)
    assert found[0].method == f"95 % t, {repeats} repeats"


def test_an_interval_of_five_repeats_is_scipys() -> None:
    values = [9.0, 10.0, 12.0, 10.5, 11.0]
    logs = np.log(values)
    low, high = np.exp(reference.t.interval(0.95, 4, logs.mean(), reference.sem(logs)))
    found = of_rounds(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("repeats", [3, 4])
def test_few_repeats_have_a_range_that_is_called_one(repeats: int) -> None:
    found = of_rounds([5.0, 7.0, 6.0, 5.5][:repeats])
    assert (found.low, found.high) == (pytest.approx(5), pytest.approx(7))
    assert found.ranged and found.method == f"min-max of {repeats} repeats"


def test_batch_means_hold_the_truth_for_arrivals_at_random() -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2_000):
        estimate = rate_estimate(rng.uniform(0, 20, rng.poisson(600)), 20)
        assert estimate is not None
        found.append(of_blocks([estimate]))
    assert held(found, 30) == pytest.approx(0.95, abs=0.015)
    assert found[0].method == "95 % within 1 repeat"


def test_batch_means_hold_the_truth_for_a_closed_loop() -> None:
    rng = np.random.default_rng(2)
    estimates = [rate_estimate(moments(steady_cell(rng, 0.05, 10, 20)), 20) for _ in range(200)]
    found = [of_blocks([one]) for one in estimates if one]
    assert held(found, 20) == pytest.approx(0.95, abs=0.045)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize("percentile", [50, 95])
def test_block_bootstraps_hold_the_truth_though_neighbours_are_alike(
    percentile: int, correlation: float
) -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((400, 1_100)) * np.sqrt(1 - correlation**2)
    logs = lfilter([1], [1, -correlation], noise, axis=1)[:, 100:]
    found = [of_blocks([percentile_estimate(np.exp(0.4 * one), percentile)]) for one in logs]
    truth = np.exp(0.4 * reference.norm.ppf(percentile / 100))
    assert held(found, truth) == pytest.approx(0.95, abs=0.04)


def test_errors_that_take_neighbours_for_independent_would_be_too_small() -> None:
    noise = np.random.default_rng(4).standard_normal(3_000)
    logs = lfilter([1], [1, -0.9], noise)[1_000:]
    shuffled = np.random.default_rng(4).permutation(logs)
    alike, independent = (percentile_estimate(np.exp(one), 50) for one in (logs, shuffled))
    assert alike.value == independent.value
    assert alike.log_error > 2 * independent.log_error


def test_a_large_cell_is_resampled_in_slabs_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    latencies_ms = np.random.default_rng(5).lognormal(size=1_003)
    whole = percentile_estimate(latencies_ms, 95)
    monkeypatch.setattr(blocks, "SLAB", 5_000)
    assert percentile_estimate(latencies_ms, 95) == whole


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_ratios_of_paired_rounds_hold_the_truth(drift: float) -> None:
    rng = np.random.default_rng(6)
    found = []
    for _ in range(2_000):
        rounds = rng.normal(0, 0.2, 5)  # falls on both alike
        first, second = (np.exp(rounds + rng.normal(0, 0.03, 5)) for _ in range(2))
        apart = np.exp(rng.normal(0, drift)) if drift else 1.0
        found.append(ratio_of_rounds(list(first), list(second * 1.3 * apart), drift).interval)
    assert held(found, 1.3) == pytest.approx(0.95, abs=0.015)
    width = np.median([one.high / one.low for one in found])
    assert width < 1.35, "what falls on both servers of a round alike should not widen their ratio"


def pair(rng: np.random.Generator, slower: float, drift: float) -> dict[str, str]:
    """Two runs' verdicts on one cell, the second served `slower` and by a machine that drifted."""
    first = steady_cell(rng, 0.05, 10, 30)
    second = steady_cell(rng, 0.05 * slower * float(np.exp(rng.normal(0, drift))), 10, 30)
    rates = [rate_estimate(moments(one), 30) for one in (first, second)]
    assert rates[0] and rates[1]
    found = {"RPS": ratio_of_blocks(rates[:1], rates[1:], DRIFT).verdict(higher_is_faster=True)}  # type: ignore[arg-type]
    for percentile in (50, 95):
        latencies = [percentile_estimate(one["latency_ms"].to_numpy(), percentile) for one in (first, second)]
        ratio = ratio_of_blocks(latencies[:1], latencies[1:], DRIFT)
        found[f"p{percentile}"] = ratio.verdict(higher_is_faster=False)
    return found


def test_two_runs_of_unchanged_code_are_indistinguishable_nine_times_in_ten() -> None:
    rng = np.random.default_rng(7)
    verdicts = [verdict for _ in range(150) for verdict in pair(rng, 1.0, DRIFT).values()]
    assert verdicts.count(SAME) / len(verdicts) > 0.9
    assert verdicts.count(SLOWER) / len(verdicts) < 0.06


def test_a_server_slowed_by_15_percent_is_caught() -> None:
    rng = np.random.default_rng(8)
    found = [pair(rng, 1 / 0.85, DRIFT) for _ in range(150)]
    assert np.mean([SLOWER in one.values() for one in found]) > 0.85
    assert not any(FASTER in one.values() for one in found)


@pytest.mark.parametrize("rounds", [3, 5])
def test_a_server_slowed_by_15_percent_is_caught_in_interleaved_rounds(rounds: int) -> None:
    rng = np.random.default_rng(9)
    verdicts: dict[float, list[str]] = {1.0: [], 0.85: []}
    for speed, found in verdicts.items():
        for _ in range(1_000):
            first, second = (np.exp(rng.normal(0, 0.02, rounds)) for _ in range(2))
            found.append(ratio_of_rounds(list(first), list(speed * second), 0).verdict(True))
    assert verdicts[1.0].count(SAME) > 970
    assert verdicts[0.85].count(SLOWER) > 950


@pytest.mark.parametrize("rounds", [3, 5])
def test_two_runs_of_several_rounds_differ_by_drift_alone_or_by_15_percent(rounds: int) -> None:
    rng = np.random.default_rng(10)
    verdicts: dict[float, list[str]] = {1.0: [], 0.85: []}
    for speed, found in verdicts.items():
        for _ in range(1_000):
            drifted = speed * np.exp(rng.normal(0, DRIFT))
            first, second = (np.exp(rng.normal(0, 0.03, rounds)) for _ in range(2))
            found.append(ratio_of_rounds(list(first), list(drifted * second), DRIFT).verdict(True))
    assert verdicts[1.0].count(SAME) >= 900
    assert verdicts[0.85].count(SLOWER) >= 750


@pytest.mark.parametrize(("repeats", "share"), [(3, 0.75), (4, 0.875)])
def test_a_range_of_few_repeats_holds_the_median_as_often_as_chance_has_it(
    repeats: int, share: float
) -> None:
    """1 - 2^(1-n): all of n repeats fall on one side of the median that often (why it is not called 95 %)."""
    values = 7 * np.exp(0.1 * np.random.default_rng(11).standard_normal((2_000, repeats)))
    assert held([of_rounds(list(one)) for one in values], 7) == pytest.approx(share, abs=0.03)


def test_a_difference_below_the_smallest_effect_gets_no_verdict_however_sure() -> None:
    first, second = [10.0, 10.01, 9.99, 10.0, 10.0], [9.7, 9.71, 9.69, 9.7, 9.7]
    ratio = ratio_of_rounds(first, second, 0)
    assert ratio.interval.high < 1
    assert ratio.verdict(True, 0.05) == SAME
    assert ratio.verdict(True, 0.02) == SLOWER
    assert ratio.verdict(False, 0.02) == FASTER


def test_one_round_of_three_within_the_smallest_effect_is_enough_for_no_verdict() -> None:
    assert ratio_of_rounds([1.0] * 3, [1.2, 1.3, 1.06], 0).verdict(True) == FASTER
    assert ratio_of_rounds([1.0] * 3, [1.2, 1.3, 1.04], 0).verdict(True) == SAME


SPEEDS = st.lists(st.tuples(st.floats(0.01, 1e5), st.floats(0.01, 1e5)), min_size=3, max_size=8)


@given(SPEEDS, st.sampled_from([0.0, 0.05]), st.booleans())
def test_a_ratio_turned_over_is_that_of_the_swapped_measurements(
    rounds: list[tuple[float, float]], drift: float, higher_is_faster: bool
) -> None:
    first, second = (list(one) for one in zip(*rounds, strict=True))
    ahead, back = ratio_of_rounds(first, second, drift), ratio_of_rounds(second, first, drift)
    assert ahead.value * back.value == pytest.approx(1)
    assert ahead.interval.low * back.interval.high == pytest.approx(1)
    opposite = {FASTER: SLOWER, SLOWER: FASTER, SAME: SAME}
    if abs(abs(np.log(ahead.value)) - np.log(1.05)) > 1e-9:
        assert ahead.verdict(higher_is_faster) == opposite[back.verdict(higher_is_faster)]


@given(
    st.lists(
        st.builds(Estimate, st.floats(0.01, 1e5), st.floats(0, 2), st.just(9.0)), min_size=2, max_size=2
    ),
    st.floats(0, 0.2),
)
def test_a_ratio_of_single_rounds_turned_over_is_that_of_the_swapped_ones(
    both: list[Estimate], drift: float
) -> None:
    ahead, back = ratio_of_blocks(both[:1], both[1:], drift), ratio_of_blocks(both[1:], both[:1], drift)
    assert ahead.value * back.value == pytest.approx(1)
    assert ahead.interval.low * back.interval.high == pytest.approx(1)
    assert ahead.interval.low <= ahead.value <= ahead.interval.high


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
