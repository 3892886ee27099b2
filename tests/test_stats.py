"""Figures against numpy and scipy, and the sample floors against a simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from benchmark.records import REQUEST_COLUMNS
from benchmark.stats import figures, in_window, percentile_ms, sample_floor


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
