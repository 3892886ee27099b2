"""The highest rate that holds is found, whatever the server; charts and figures say what the files say."""

import html
import math
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_run
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.charts import capacity as chart
from benchmark.charts import overload as overload_chart
from benchmark.charts.draw import draw_all, draw_experiments
from benchmark.experiments.capacity import Slo, step_duration_s
from benchmark.experiments.capacity_search import Bounds, Verdict, search
from benchmark.experiments.overload import overload_figures, overload_lines
from benchmark.report.html import write_report
from benchmark.runs.records import RunFiles, read_json, write_json
from benchmark.stats.figures import sample_floor

FACTS = {
    "model": {"architecture": "Small", "origin": "a test", "parameters": 1_000_000, "trained": False},
    "environment": {"machine": {"cpu": "Test CPU"}, "cores": {"server": [0], "load": [1]}, "commit": "abc"},
}


@given(limit=st.floats(1.0, 5000.0), start=st.floats(1.0, 500.0))
def test_the_search_encloses_the_limit_within_its_precision(limit: float, start: float) -> None:
    asked: list[float] = []

    def step(rate: float) -> Verdict:
        asked.append(rate)
        return Verdict.HELD if rate <= limit else Verdict.MISSED

    found = search(step, Bounds(start_rps=start, max_steps=40))
    assert found.ended == "found"
    assert found.held_rps is not None and found.not_held_rps is not None
    assert found.held_rps <= limit < found.not_held_rps <= found.held_rps * 1.05
    assert len(asked) <= 3 + abs(math.log2(limit / start)) + math.log2(1 / math.log2(1.05)) + 1


def test_a_server_that_holds_no_rate_is_asked_down_to_the_least_and_no_further() -> None:
    asked: list[float] = []

    def step(rate: float) -> Verdict:
        asked.append(rate)
        return Verdict.MISSED

    found = search(step, Bounds(start_rps=6, least_rps=1))
    assert asked == [6, 3, 1.5, 1]
    assert (found.held_rps, found.not_held_rps, found.ended) == (None, 1, "not even 1 RPS holds")


def test_the_load_generators_limit_is_not_taken_for_the_servers() -> None:
    def step(rate: float) -> Verdict:
        return Verdict.HELD if rate <= 100 else Verdict.INVALID

    found = search(step, Bounds())
    assert found.ended == "the load generator's limit"
    assert found.held_rps is not None and 95 < found.held_rps <= 100


def test_a_search_ends_after_its_steps_and_its_seconds() -> None:
    def step(rate: float) -> Verdict:
        return Verdict.HELD

    assert search(step, Bounds(max_steps=3)).ended == "stopped after 3 steps"
    now_s = iter(range(0, 1000, 10))
    found = search(step, Bounds(start_rps=8, max_s=20), lambda: float(next(now_s)))
    assert (found.held_rps, found.ended) == (16, "stopped after 20 s")


def figures(**values: Any) -> dict[str, Any]:
    found = {"requests": 1000, "refused": 0, "expired": 0, "wrong": 0, "unanswered": 0, "late": 0}
    return {**found, "p95_ms": 200.0, "generator_behind": False, **values}


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, Verdict.HELD),
        ({"p95_ms": 251.0}, Verdict.MISSED),
        ({"p95_ms": None}, Verdict.MISSED),
        ({"refused": 1}, Verdict.MISSED),
        ({"requests": 2000, "unanswered": 1}, Verdict.HELD),
        ({"late": 40}, Verdict.HELD),
        ({"generator_behind": True}, Verdict.INVALID),
        ({"requests": 92, "p95_ms": None}, Verdict.INVALID),
    ],
)
def test_a_step_is_held_to_p95_errors_and_its_own_validity(values: dict[str, Any], verdict: Verdict) -> None:
    assert Slo(250).verdict(figures(**values)) is verdict


@pytest.mark.parametrize("rate", [0.5, 1.0, 7.0, 400.0])
def test_a_step_lasts_until_a_p95_can_be_told(rate: float) -> None:
    seconds = step_duration_s(rate, 10)
    assert seconds >= 10
    # Three deviations of a Poisson count below its mean there are still enough.
    assert rate * seconds - 3 * math.sqrt(rate * seconds) >= sample_floor(95) * 0.95


def capacity_record(server: str, held: float | None, not_held: float, ended: str = "found") -> dict[str, Any]:
    steps = [figures(rate=rate, duration_s=15.0) for rate in (held, not_held) if rate]
    return {
        "server": server,
        "task": "sentiment",
        "slo": {"p95_ms": 250, "max_error_share": 0.001},
        "capacity": {"held_rps": held, "not_held_rps": not_held, "ended": ended},
        "steps": steps,
        **FACTS,
    }


def test_the_title_of_capacities_is_their_finding() -> None:
    baseline, dynamic = capacity_record("baseline", 12, 12.5), capacity_record("dynamic_batching", 150, 156)
    assert chart.title([baseline, dynamic]) == (
        "Dynamic batching keeps p95 within 250 ms at 150 requests a second, 12x the baseline's 12"
    )
    none = capacity_record("baseline", None, 1, "not even 1 RPS holds")
    assert chart.title([none, dynamic]).endswith("at 150 requests a second, the baseline not even at 1")
    assert chart.title([none]) == "Baseline does not keep p95 within 250 ms even at 1 request a second"
    assert chart.bar_text(none, None) == "misses it at 1 a second: p95 200 ms"
    bound = capacity_record("optimized", 400, 410, "the load generator's limit")
    assert chart.bar_text(bound, baseline) == "at least 400, 33x the baseline"
    assert "400 or more requests a second" in chart.title([baseline, bound])


def test_the_figures_beside_capacities_are_whole_whatever_ended_the_search() -> None:
    records = [
        capacity_record("baseline", 40, 48, "stopped after 54 s"),
        capacity_record("optimized", None, 1),
        capacity_record("dynamic_batching", 543, 768, "stopped after 54 s"),
    ]
    sheet = chart.capacity(records)
    assert (
        sheet.title
        == "Dynamic batching keeps p95 within 250 ms at 543 or more requests a second, 14x the baseline's 40"
    )
    sheet.lay_out()
    (ax,) = sheet.figure.axes
    boxes = [text.get_window_extent() for text in (*ax.texts, *ax.get_yticklabels())]
    assert len(boxes) == 6 and all(box.x0 >= 0 and box.x1 <= sheet.figure.bbox.x1 for box in boxes)


def overload_record(server: str, goodput: list[float], p95: list[float | None]) -> dict[str, Any]:
    rates = [
        figures(rate=multiple * 100, goodput_rps=good, p95_ms=tail, refuse_p95_ms=12.0)
        for multiple, good, tail in zip((0.5, 1, 2, 4), goodput, p95, strict=True)
    ]
    offer = {
        "server": server,
        "task": "sentiment",
        "deadline_ms": 1000,
        "capacity_users": 50,
        "duration_s": 20,
    }
    return {
        "offer": offer,
        "capacity_rps": 100.0,
        "rates": rates,
        "recovery": {"recovered": True},
        **FACTS,
    }


def test_overload_is_the_highest_rate_held_against_the_best() -> None:
    record = overload_record("dynamic_batching", [50, 98, 96, 93.1], [30, 500, 900, 950])
    found = overload_figures(record)
    assert found["goodput_share"] == pytest.approx(0.95)
    assert (found["multiple"], found["accepted_p95_ms"], found["refuse_p95_ms"]) == (4, 950, 12)
    assert overload_lines(record) == [
        "at 4 times its capacity: goodput 93.1 RPS, 95% of its peak; p95 of accepted requests 950 ms; "
        "p95 to refuse 12 ms"
    ]
    collapsed = overload_record("baseline", [50, 60, 3, 0], [300, 4000, None, None])
    assert overload_chart.title([collapsed, record]) == (
        "At 4 times its capacity dynamic batching keeps 95 % of its best goodput, the baseline 0 %"
    )
    nothing = overload_record("baseline", [0, 0, 0, 0], [None] * 4)
    assert overload_figures(nothing)["goodput_share"] is None
    assert "none at any rate" in overload_lines(nothing)[0]


def test_the_chart_names_the_users_of_the_capacity() -> None:
    record = overload_record("baseline", [50, 60, 3, 0], [300, 4000, None, None])
    assert "closed loop of 50 users" in overload_chart.overload([record]).caption[0]


def test_charts_are_drawn_from_the_files_of_a_run(tmp_path: Path) -> None:
    for record in (
        capacity_record("baseline", None, 1, "not even 1 RPS holds"),
        capacity_record("dynamic_batching", 150, 156),
    ):
        write_json(tmp_path / "capacity" / f"{record['server']}-sentiment.json", record)
    for record in (
        overload_record("baseline", [50, 60, 3, 0], [300, 4000, None, None]),
        overload_record("dynamic_batching", [50, 98, 96, 93.1], [30, 500, 900, 950]),
    ):
        write_json(tmp_path / "open_loop" / f"{record['offer']['server']}-sentiment.json", record)
    assert [path.name for path in draw_experiments(RunFiles(tmp_path))] == [
        "capacity-sentiment.png",
        "capacity-sentiment.svg",
        "overload-sentiment.png",
        "overload-sentiment.svg",
    ]


def test_a_runs_charts_and_report_hold_what_was_measured_beside_its_cells(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    found = [capacity_record("baseline", 12, 13), capacity_record("dynamic_batching", 150, 156)]
    for record in found:
        write_json(tmp_path / "capacity" / f"{record['server']}-sentiment.json", record)
    assert {"latency-translation-unique-x1.png", "capacity-sentiment.png"} <= {
        path.name for path in draw_all(run)
    }
    page = write_report(run).read_text()
    assert "charts/capacity-sentiment.png" in page and chart.title(found) in html.unescape(page)


def test_a_real_servers_capacity_is_searched_and_every_step_kept(tmp_path: Path) -> None:
    options = ["--servers", "dynamic_batching", "--tasks", "sentiment", "--start-rps", "120", "--warmup", "0"]
    options += ["--duration", "1", "--max-steps", "1", "--slo-sentiment-ms", "60000", "--name", "run"]
    arguments = ["capacity", "--models", str(EMBEDDED), "--results", str(tmp_path), *options]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    record = read_json(tmp_path / "run" / "capacity" / "dynamic_batching-sentiment.json")
    assert [step["rate"] for step in record["steps"]] == [120]
    assert record["capacity"]["ended"] == "stopped after 1 step"
    for step in record["steps"]:
        assert step["requests"] >= sample_floor(95)
        assert step["duration_s"] * step["rate"] >= sample_floor(95)
        stem = f"dynamic_batching-sentiment-{step['rate']:.4g}rps"
        assert (tmp_path / "run" / "capacity" / f"{stem}.requests.csv.xz").is_file()
    assert (tmp_path / "run" / "charts" / "capacity-sentiment.png").is_file()
