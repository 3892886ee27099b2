"""The report's tables: what they hold is what the run's files hold, and limitations name what they do not."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from made_runs import DURATION_S, RATES, make_run, requests_of

from benchmark.charts.data import RunData, Slice
from benchmark.report import tables
from benchmark.report.html import limitations
from benchmark.report.limits import offline_shares, open_loops
from benchmark.report.ratios import format_ratio, intervals, ratios
from benchmark.runs.records import RunFiles, read_json, write_json
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_significant
from benchmark.stats.repeats import COMPARED, Repeats, repeats_of

PART = Slice("translation", "unique", 1)
SERVERS = ("baseline", "optimized", "dynamic_batching")
# Two servers as fast as each other, with other random numbers.
ALIKE = RATES | {"dynamic_batching": RATES["optimized"] * 1.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """Three servers in five rounds, with an offline throughput and an open loop."""
    run = make_run(tmp_path_factory.mktemp("run"), SERVERS, users=(10,), repeats=5, rates=ALIKE)
    record = run.read_run()
    record["models"]["artefacts"]["translation/onnx"] = {"bytes": 5, "files": {}, "trained": True}
    run.write_run(record)
    best = {"batch_size": 8, "texts_per_s": 90.0}
    offline = {"model": {"bytes": 5, "trained": True}, "best": best}
    write_json(run.folder / "offline_throughput.json", {"tasks": {"translation": offline}})
    rate = {"rate": 150.0, "offered_rps": 150.4, "goodput_rps": 98.5, "refused": 7, "expired": 0, "late": 2}
    rate |= {"unanswered": 0, "wrong": 0, "p50_ms": 310.0, "p95_ms": None, "refuse_p95_ms": 4.0}
    rate |= {"send_lag_p95_ms": 0.4, "generator_behind": False}
    offer = {"server": "dynamic_batching", "task": "translation", "deadline_ms": 1234}
    path = run.folder / "open_loop" / "dynamic_batching-translation.json"
    write_json(path, {"offer": offer, "rates": [rate], "recovery": None})
    return run


def of_server(run: RunFiles, server: str) -> Repeats:
    return next(repeats for cell, repeats in repeats_of(run).items() if cell.server == server)


def limitations_of(run: RunFiles) -> list[str]:
    data = RunData(run)
    return [*limitations(data, tables.every_cell(data))]


def test_intervals_are_those_of_the_rounds(run: RunFiles) -> None:
    table = intervals(repeats_of(run), PART).set_index("server")
    assert [*table.index] == ["Baseline", "Optimized", "Dynamic batching"]
    for figure in COMPARED:
        interval = of_server(run, "baseline").interval(figure)
        if figure.key == "p50_ms":
            assert interval is not None
        expected = " to ".join(map(format_significant, (interval.low, interval.high))) if interval else "–"
        assert table.loc["Baseline", figure.heading] == expected


def test_ratios_are_of_the_later_server_over_the_earlier_one(run: RunFiles) -> None:
    table = ratios(repeats_of(run), PART).set_index("servers")
    faster, same = table.loc["Optimized / Baseline"], table.loc["Dynamic batching / Optimized"]
    assert faster["RPS ratio"] == pytest.approx(RATES["optimized"] / RATES["baseline"], rel=0.02)
    assert faster["p50 ratio"] < 0.5 and {faster["RPS is"], faster["p50 is"]} == {"faster"}
    assert {same["RPS is"], same["p50 is"]} == {"indistinguishable"}
    low, high = map(float, faster["p50 interval"].split(" to "))
    assert low < float(format_ratio(faster["p50 ratio"])) < high


def test_a_server_of_another_run_must_differ_by_more(tmp_path: Path) -> None:
    rates = {"baseline": 100.0, "optimized": 107.0}
    run = make_run(tmp_path, ("baseline", "optimized"), users=(10,), repeats=5, rates=rates)
    assert ratios(repeats_of(run), PART)["RPS is"].tolist() == ["faster"]
    for path in run.cells_folder.glob("baseline-*.json"):
        write_json(path, read_json(path) | {"from_run": "earlier"})
    assert ratios(repeats_of(run), PART)["RPS is"].tolist() == ["indistinguishable"]


def test_two_rounds_have_no_interval_and_no_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path, ("baseline", "optimized"), users=(10,), repeats=2)
    assert intervals(repeats_of(run), PART).empty
    assert ratios(repeats_of(run), PART)["RPS is"].tolist() == ["n < 3 rounds"]
    assert "Each cell was measured in 2 repeats; intervals need 3." in limitations_of(run)


def test_the_share_of_the_offline_throughput_needs_the_same_model(run: RunFiles, tmp_path: Path) -> None:
    table = offline_shares(RunData(run), PART).set_index("server")
    medians = RunData(run).of(PART).medians("texts_per_s")
    assert table.loc["Optimized", "served / offline, %"] == pytest.approx(medians["optimized"][10] / 0.9)
    assert table.loc["Optimized", "at users"] == 10
    assert not any("offline throughput" in limitation for limitation in limitations_of(run))
    other = RunFiles(shutil.copytree(run.folder, tmp_path / "run"))
    offline = read_json(other.folder / "offline_throughput.json")["tasks"]["translation"]
    tasks = {"translation": offline | {"model": {"bytes": 6, "trained": True}}}
    write_json(other.folder / "offline_throughput.json", {"tasks": tasks})
    assert offline_shares(RunData(other), PART).empty
    assert any("offline throughput is of other models" in limitation for limitation in limitations_of(other))


def test_open_loops_have_a_row_a_rate(run: RunFiles) -> None:
    (loop,) = open_loops(run)
    (row,) = loop["rows"].to_dict("records")
    assert [*row.values()][:6] == ["150.4", "98.5", "2", "7", "0", "0"]
    assert "within 1234 ms of the scheduled send" in loop["note"] and loop["recovery"] == ""


def test_medians_are_of_valid_repeats_and_name_how_many_there_are(tmp_path: Path) -> None:
    states = {("baseline", 10, 1): "invalid", ("baseline", 10, 2): "failed"}
    run = make_run(tmp_path, ("baseline", "dynamic_batching"), users=(10,), repeats=3, states=states)
    table = tables.medians(RunData(run).of(PART)).set_index("server")
    assert table["valid cells"].to_dict() == {"Baseline": "1 of 3", "Dynamic batching": "3 of 3"}
    (valid,) = of_server(run, "baseline").records.values()
    assert table.loc["Baseline", "p50, ms"] == valid["figures"]["p50_ms"]
    assert pd.isna(table.loc["Baseline", "batch size"]) and table.loc["Dynamic batching", "batch size"] == 2.5
    assert "texts/s" not in table, "it is the same as RPS where a request has one text"
    assert "2 of 6 cells are invalid or failed, and part of no median." in limitations_of(run)


def test_cells_that_changed_their_speed_are_unstable(tmp_path: Path) -> None:
    run = make_run(tmp_path, users=(10,), repeats=2, rates={"baseline": 100.0})
    requests = requests_of(100.0, 10, seed=0)
    early = requests["start_s"] + requests["latency_ms"] / 1e3 < DURATION_S / 3
    warming = stats.figures(requests[~early | (requests.index % 2 == 0)], DURATION_S)
    path = run.cells_folder / "baseline-translation-unique-x1-u10-r2.json"
    record = read_json(path)
    write_json(path, record | {"figures": record["figures"] | warming})
    assert tables.every_cell(RunData(run))["throughput"].tolist() == ["stable", "unstable"]
    assert any(limitation.startswith("1 of 2 cells are unstable") for limitation in limitations_of(run))
