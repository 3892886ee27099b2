"""A chart's title is its finding: every number and name in it is that of the data."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.charts import titles

NUMBER = r"([\d,.]*\d)"
ALIKE = (12.0, 12.4, 12.9)
LEVELS = st.dictionaries(
    st.sampled_from((10, 50, 100)), st.floats(0.1, 1e4) | st.sampled_from(ALIKE), min_size=1
)
SERVERS = ("baseline", "optimized", "dynamic_batching", "ctranslate2")
MEDIANS = st.dictionaries(st.sampled_from(SERVERS), LEVELS)


def numbers(pattern: str, sentence: str) -> list[float] | None:
    """The figures in `sentence` where it follows `pattern`."""
    match = re.search(pattern.replace("#", NUMBER), sentence)
    return [float(group.replace(",", "")) for group in match.groups()] if match else None


def near(value: float) -> object:
    """Equal to what two digits can tell."""
    return pytest.approx(value, rel=0.055)


FLAT, SLOW = {10: 12.0, 50: 12.1, 100: 12.2}, {10: 820.0, 100: 8036.0}
FAST = {10: 100.0, 50: 250.0, 100: 252.0}


@pytest.mark.parametrize(
    ("medians", "title"),
    [
        ({}, "No valid throughput of sentiment was measured"),
        ({"baseline": {10: 12}}, "Baseline answers 12 sentiment requests a second at 10 users"),
        ({"baseline": FLAT}, "Baseline stays at 12 sentiment requests a second from 10 to 100 users"),
        (
            {"optimized": FAST},
            "Optimized grows from 100 to 252 sentiment requests a second from 10 to 100 users",
        ),
        (
            {"optimized": {1: 9, 2: 4}},
            "Optimized falls from 9 to 4 sentiment requests a second from 1 to 2 users",
        ),
        ({"optimized": {1: 4, 5: 9, 9: 5}}, "Optimized peaks at 9 sentiment requests a second at 5 users"),
        ({"optimized": {1: 9, 5: 4, 9: 8}}, "Optimized dips to 4 sentiment requests a second at 5 users"),
        (
            {"baseline": FLAT, "dynamic_batching": FAST},
            "Dynamic batching answers 21x the baseline's sentiment requests at 100 users",
        ),
        (
            {"baseline": {10: 12}, "optimized": {10: 12.4}},
            "Baseline and optimized answer alike at 10 users: 12 sentiment requests a second",
        ),
        (
            {"baseline": {10: 0}, "optimized": {10: 3}},
            "Optimized answers 3 sentiment requests a second at 10 users, the baseline none",
        ),
    ],
)
def test_throughput(medians: titles.Medians, title: str) -> None:
    assert titles.throughput(medians, "sentiment") == title


@pytest.mark.parametrize(
    ("p50", "title"),
    [
        ({}, "Too few valid sentiment requests for a p50"),
        ({"baseline": {1: 80}}, "Baseline's p50 is 80 ms at 1 user"),
        ({"baseline": FLAT}, "Baseline's p50 stays at 12 ms from 10 to 100 users"),
        ({"baseline": SLOW}, "At 100 users the baseline's p50 is 9.8x its p50 at 10 users"),
        ({"baseline": {1: 80, 9: 40}}, "At 9 users the baseline's p50 is 40 ms, down from 80 at 1 user"),
        (
            {"baseline": SLOW, "optimized": {100: 80}},
            "Optimized cuts the baseline's p50 from 8,036 to 80 ms at 100 users",
        ),
        (
            {"baseline": {9: 20}, "optimized": {9: 80}},
            "At 9 users the baseline's p50 for sentiment is 20 ms, optimized's 80",
        ),
        (
            {"baseline": {9: 20}, "optimized": {9: 21}},
            "Baseline and optimized have a like p50 for sentiment at 9 users: 20 to 21 ms",
        ),
    ],
)
def test_latency(p50: titles.Medians, title: str) -> None:
    assert titles.latency(p50, "sentiment") == title


def test_tradeoff_names_each_servers_highest_rate() -> None:
    rps = {"baseline": {10: 12.0, 50: 11.0}, "dynamic_batching": {10: 100.0, 50: 250.0, 100: 255.0}}
    p95 = {"baseline": {10: 900.0, 50: 4500.0}, "dynamic_batching": {10: 130.0, 50: 300.0}}
    expected = "Dynamic batching reaches 250 requests a second at a p95 of 300 ms, the baseline 12 at 900"
    assert titles.tradeoff(rps, p95, "translation") == expected
    expected = "Baseline's p95 grows from 900 to 4,500 ms while throughput stays near 12 a second"
    assert titles.tradeoff(rps, {"baseline": p95["baseline"]}, "translation") == expected
    expected = "Baseline's p95 is 900 ms at 12 requests a second"
    assert titles.tradeoff(rps, {"baseline": {10: 900.0}}, "translation") == expected
    assert titles.tradeoff(rps, {}, "sentiment") == "Too few valid sentiment requests for a p95"


def test_distribution_and_timeline() -> None:
    both = {"baseline": 80.0, "optimized": 8.0}
    expected = "At 10 users 95 % of optimized's answers come within 8 ms, the baseline's within 80"
    assert titles.distribution({}, both, 10, "sentiment") == expected
    one = {"baseline": 8.0}
    expected = "At 10 users half of the baseline's answers come within 8 ms"
    assert titles.distribution(one, {}, 10, "sentiment") == expected
    expected = "At 10 users the baseline's p95 is 2.0x its p50"
    assert titles.distribution(one, {"baseline": 16.0}, 10, "sentiment") == expected
    expected = "Too few valid sentiment requests at 10 users for a p50"
    assert titles.distribution({}, {}, 10, "sentiment") == expected
    assert titles.timeline("baseline", None, 1, 20.0) == "Baseline answers 1 request in the 20 s measured"
    expected = "Baseline's p50 rises from 800 to 1,200 ms over the two halves of the 20 s measured"
    assert titles.timeline("baseline", (800.0, 1200.0), 99, 20.0) == expected


def test_footprint() -> None:
    both = {"baseline": 1352.0, "optimized": 285.0}
    alike = titles.footprint({}, {"baseline": 300.0, "optimized": 310.0})
    assert alike == "Baseline and optimized peak at 300 to 310 MB of memory"
    assert titles.footprint({}, both) == "Optimized peaks at 285 MB of memory, the baseline at 1,352"
    expected = "Baseline is ready in 5.1 s and peaks at 285 MB of memory"
    assert titles.footprint({"baseline": 5.1}, {"baseline": 285.0}) == expected
    assert titles.footprint({}, {}) == "No cold start was measured"


def test_queue_and_batch_size() -> None:
    two = {"baseline": {10: 0.2, 100: 0.98}, "dynamic_batching": {10: 0.1, 100: 0.45}}
    expected = "the queue takes 98 % of a request's time on the baseline, 45 % on dynamic batching"
    assert titles.queue(two) == f"At 100 users {expected}"
    assert titles.queue({"baseline": {9: 0.7}, "optimized": {9: 0.7}}).endswith("time on every server")
    expected = "The queue takes 98 % of a request's time on the baseline at 100 users, 20 % at 10"
    assert titles.queue({"baseline": two["baseline"]}) == expected
    sizes = {"dynamic_batching": {10: 4.2, 100: 23.4}, "optimized": {100: 1}}
    expected = "Dynamic batching's sentiment batches hold 23 texts at 100 users, 4.2 at 10"
    assert titles.batch_size(sizes, "sentiment") == expected
    assert titles.batch_size({"optimized": {9: 1}}, "sentiment").endswith("hold 1 text at 9 users")


@given(LEVELS)
def test_a_throughput_title_is_true_of_one_server(levels: titles.Levels) -> None:
    sentence = titles.throughput({"baseline": levels}, "translation")
    values = [levels[level] for level in sorted(levels)]
    if len(values) == 1:
        assert numbers("answers # .* at # user", sentence) == [near(values[0]), min(levels)]
    elif figures := numbers("stays (?:at|near) # ", sentence):
        assert max(values) <= 1.1**2 * min(values)
        assert min(values) * 0.94 <= figures[0] <= max(values) * 1.06
    elif figures := numbers("(?:grows|falls) from # to # .* from # to # users", sentence):
        assert figures == [near(values[0]), near(values[-1]), min(levels), max(levels)]
        assert ("grows" in sentence) == (values[-1] > values[0])
    elif figures := numbers("peaks at # .* at # users", sentence):
        assert figures[0] == near(max(values)) and levels[int(figures[1])] == max(values)
    else:
        figures = numbers("dips to # .* at # users", sentence)
        assert figures and figures[0] == near(min(values)) and levels[int(figures[1])] == min(values)


@given(MEDIANS)
def test_a_comparison_of_throughput_is_true(medians: titles.Medians) -> None:
    sentence = titles.throughput(medians, "translation")
    where = numbers("at # users", sentence)
    at = titles.at_level(medians, int(where[0])) if where else {}
    if figures := numbers("answers #x ", sentence):
        best = max(at, key=at.__getitem__)
        assert sentence.startswith(titles.name(best))
        other = next(one for one in at if one != best and f"{titles.inline(one)}'s" in sentence)
        assert figures[0] == near(at[best] / at[other])
        assert other == "baseline" or best == "baseline" or "baseline" not in at
    elif "alike" in sentence:
        alike = [value for one, value in at.items() if titles.name(one).lower() in sentence.lower()]
        assert len(alike) >= 2 and max(alike) <= 1.1 * min(alike)


@given(MEDIANS)
def test_a_latency_title_is_true(medians: titles.Medians) -> None:
    sentence = titles.latency(medians, "translation")
    if figures := numbers("^At # users .* p50 is #x its p50 at # users", sentence):
        server = next(one for one in medians if f"{titles.inline(one)}'s" in sentence)
        first, last = min(medians[server]), max(medians[server])
        assert figures == [last, near(medians[server][last] / medians[server][first]), first]
    elif figures := numbers("^At # users .* is # ms, down from # at", sentence):
        levels = medians.get("baseline") or medians[min(medians)]
        assert figures[1:] == [near(levels[max(levels)]), near(levels[min(levels)])]
        assert figures[2] > figures[1]
    elif figures := numbers("cuts the baseline's p50 from # to # ms at # users", sentence):
        at = titles.at_level(medians, int(figures[2]))
        assert figures[:2] == [near(at["baseline"]), near(min(at.values()))]
        assert sentence.startswith(titles.name(min(at, key=at.__getitem__)))


SHARES = st.dictionaries(st.sampled_from((10, 50, 100)), st.floats(0, 1), min_size=1)


@given(st.dictionaries(st.sampled_from(SERVERS), SHARES, min_size=1))
def test_a_queue_title_is_true(shares: titles.Medians) -> None:
    sentence = titles.queue(shares)
    (level,) = numbers("at # users", sentence.lower()) or [0]
    at = {server: 100 * share for server, share in titles.at_level(shares, int(level)).items()}
    assert at and all(one in SERVERS for one in at)
    if figures := numbers("takes # % .*, # % on", sentence):
        assert figures == [pytest.approx(edge(at.values()), abs=0.51) for edge in (max, min)]
    elif "every server" in sentence:
        assert max(at.values()) - min(at.values()) < 1
    else:
        (server,) = [one for one in shares if f"on {titles.inline(one)} at" in sentence]
        assert numbers("takes # %", sentence) == [pytest.approx(at[server], abs=0.51)]
