"""What a second core and Ray Serve add: ratios by rounds, and how many cores a rate takes."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.report.blocks import BLOCKS
from benchmark.report.peers import UTILIZATION, deployment_rows
from benchmark.report.reference import Reference
from benchmark.runs.records import write_json
from benchmark.stats.repeats import Repeats
from peers.deployments import figures


def repeats(*rates: float, cpu: float | None = 100.0) -> Repeats:
    common = {"p95_ms": 200.0, "server_cpu_percent": cpu, "load_cpu_percent": 10.0, "cold_start_s": 1.5}
    common |= {"rss_peak_bytes": 3e8}
    return Repeats(
        [
            {"cell": {"repeat": number}, "figures": {**common, "throughput_rps": rate}}
            for number, rate in enumerate(rates, 1)
        ]
    )


def row(name: str, of_one: Repeats, valid: Repeats) -> dict[str, Any]:
    return {"name": name, "users": 50, **figures(of_one, valid)}


def test_the_ratio_is_that_of_the_rounds_and_a_core_is_counted_as_used() -> None:
    one, two = repeats(100, 200, 50), repeats(180, 360, 90, cpu=180.0)
    first, second = deployment_rows({"deployments": [row("one_core", one, one), row("all_cores", one, two)]})
    assert first["over one core"] == "–" and second["over one core"].startswith("1.80x (1.80x to 1.80x)")
    assert first["requests/s a core used"] == second["requests/s a core used"] == "100"
    assert second["server CPU, cores"] == "1.8"


def test_a_figure_that_was_not_sampled_is_none() -> None:
    found = figures(repeats(100, 101), repeats(100, 101, cpu=None))
    assert found["server_cpu_percent"] is None and found["throughput_rps"] == 100.5


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(tmp_path_factory.mktemp("reference"), "results")


@given(capacity=st.floats(0.5, 2_000), rate=st.integers(1, 100_000))
def test_sizing_takes_the_fewest_cores_that_hold_the_rate(
    reference: Reference, capacity: float, rate: int
) -> None:
    environment: dict[str, Any] = {"dirty": False}
    tasks = {"translation": {"tokens_a_text": 13.6}}
    write_json(reference.folder / "one" / "deployments.json", {"environment": environment, "tasks": tasks})
    compared = {"translation": {"servers": [{"capacity_rps": capacity}]}}
    write_json(reference.folder / "two" / "servers.json", {"environment": environment, "tasks": compared})
    text = BLOCKS["sizing"](reference, "one", "two", "translation", str(rate))
    found = re.search(r"that is (\d+) cores?;", text)
    assert found and "13.6 tokens" in text
    cores = int(found[1])
    exact = rate / (capacity * UTILIZATION)
    assert cores - 1 < exact <= cores + 1e-5


def test_there_is_no_sizing_without_a_run(reference: Reference) -> None:
    assert BLOCKS["sizing"](reference, "neither", "nor", "translation", "300") == ""
