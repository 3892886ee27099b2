"""The machine's own ups and downs: probed, and taken out of what two runs are compared by."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compare import DURATION_S, make_run

from benchmark.measure.machine_speed import (
    COLUMNS,
    PROBES,
    SpeedProbe,
    log_speeds,
    relative_speeds,
    speed_record,
)
from benchmark.report.html import write_report
from benchmark.runs.records import Cell, RunFiles, write_json
from benchmark.stats import figures as stats
from benchmark.stats.compare import compare_runs
from benchmark.stats.elasticity import BLOCK_S, block_logs, correction, elasticity
from benchmark.stats.intervals import SAME, SLOWER

STEP_S = 0.2
WAIT_S = 20.0


def machine(rng: np.random.Generator, mean: float, seconds: float, swing: float = 0.06) -> np.ndarray:
    """The machine's speed in steps of STEP_S: it wanders about `mean`, each second like the one before."""
    steps = int(seconds / STEP_S)
    logs = np.zeros(steps)
    for step in range(1, steps):
        logs[step] = 0.95 * logs[step - 1] + rng.normal(0, swing * np.sqrt(1 - 0.95**2))
    return mean * np.exp(logs)


def probes(rng: np.random.Generator, speeds: np.ndarray, starts_s: float) -> pd.DataFrame:
    """What a probe finds of it, each piece of work with noise of its own."""
    times = {"time_s": starts_s + STEP_S * np.arange(len(speeds))}
    return pd.DataFrame(times | {name: rng.lognormal(0, 0.03, len(speeds)) / speeds for name in PROBES})


def on_machine(run: RunFiles, seed: int, mean: float) -> RunFiles:
    """The made run as it would have been on a machine that wanders about the speed `mean`, and its probes."""
    rng = np.random.default_rng(seed)
    for record in run.read_cells():
        cell = Cell(**record["cell"])
        requests = run.read_requests(cell)
        ends_s = requests["start_s"] + requests["latency_ms"] / 1e3
        first, last = requests["start_s"].min(), ends_s.max()
        speeds = machine(rng, mean, 3 * (last - first))
        # What took a second at speed 1 takes as long as it needs for the machine to have done as much.
        edges = first + STEP_S * np.arange(len(speeds) + 1)
        done = first + np.concatenate([[0], np.cumsum(speeds * STEP_S)])
        starts, stops = np.interp(requests["start_s"], done, edges), np.interp(ends_s, done, edges)
        requests["start_s"], requests["latency_ms"] = starts, (stops - starts) * 1e3
        requests.to_csv(run.requests_path(cell), index=False)
        probes(rng, speeds, first).to_csv(run.speed_path(cell), index=False)
        found = stats.figures(run.read_requests(cell), DURATION_S)
        write_json(run.cells_folder / f"{cell.name}.json", record | {"figures": found})
    return run


Made = Callable[..., RunFiles]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(name: str, seed: int, mean: float, code: float = 1.0) -> RunFiles:
        return on_machine(make_run(tmp_path / name, seed, speed=code), seed, mean)

    return make


def verdicts(first: RunFiles, second: RunFiles) -> list[str]:
    return [row.verdict for row in compare_runs(first, second)[0]]


def test_a_machine_that_got_slower_is_no_regression_once_it_is_probed(made: Made) -> None:
    before, after = made("before", 1, 1.0), made("after", 2, 0.75)
    rows, _ = compare_runs(before, after)
    assert [row.verdict for row in rows] == [SAME] * 6
    assert rows[0].found.speed_ratio == pytest.approx(0.75, rel=0.05)
    assert rows[0].found.second / rows[0].found.first == pytest.approx(0.75, rel=0.08)
    for path in after.cells_folder.glob("*.speed.csv"):
        path.unlink()
    assert verdicts(before, after).count(SLOWER) >= 5


def test_slower_code_is_found_on_a_machine_that_got_faster(made: Made) -> None:
    assert verdicts(made("before", 3, 1.0), made("after", 4, 1.2, code=0.8)).count(SLOWER) >= 5


def test_the_interval_of_an_elasticity_holds_the_truth() -> None:
    rng, held, rounds = np.random.default_rng(0), 0, 300
    for _ in range(rounds):
        windows = []
        for _ in range(4):
            speeds = rng.normal(0, 0.06, 10)
            windows.append((5 + 0.6 * speeds + rng.normal(0, 0.03, 10), 2 + speeds))
        found = elasticity(windows)
        assert found is not None
        held += abs(found.value - 0.6) <= 2.03 * found.error
    assert 0.91 <= held / rounds <= 0.98


@given(slope=st.floats(-3, 3), seed=st.integers(0, 1_000))
def test_an_elasticity_is_between_none_and_all(slope: float, seed: int) -> None:
    speeds = np.random.default_rng(seed).normal(0, 0.1, 12)
    found = elasticity([(slope * speeds, speeds)])
    assert found is not None and found.value == pytest.approx(min(1, max(0, slope)))


def test_no_elasticity_without_enough_blocks_or_any_change() -> None:
    assert elasticity([]) is None
    assert elasticity([(np.arange(3.0), np.arange(3.0))]) is None
    assert elasticity([(np.arange(20.0), np.zeros(20))]) is None
    assert elasticity([(np.array([1.0]), np.array([1.0]))] * 20) is None


def test_blocks_hold_the_answers_and_the_mean_speed_of_their_time() -> None:
    answered_s = np.array([-1.0, 0.5, 1.0, 2.5, 6.5, 7.9])
    answers, speeds = block_logs(answered_s, np.array([0.1, 1.9, 2.0, 4.5, 6.0]), np.arange(5.0), 8.5)
    assert BLOCK_S == 2
    # The third block has no answer.
    assert np.exp(answers) == pytest.approx([2, 1, 2])
    assert speeds == pytest.approx([0.5, 2, 4])
    assert [len(part) for part in block_logs(answered_s, answered_s, answered_s, 1.9)] == [0, 0]


def test_a_latency_is_corrected_the_other_way() -> None:
    speeds = np.random.default_rng(0).normal(0, 0.1, 12)
    found = elasticity([(0.5 * speeds, speeds)])
    assert found is not None
    rate, latency = (correction([0.2, 0.4], found, higher) for higher in (True, False))
    assert rate.logs == pytest.approx([0.1, 0.2]) and latency.logs == pytest.approx([-0.1, -0.2])


def test_a_probe_runs_beside_a_server_and_leaves_one_file(tmp_path: Path) -> None:
    log = tmp_path / "probe.log"
    zero_s = time.perf_counter()
    probe = SpeedProbe((0,), log)
    ends_s = zero_s + WAIT_S
    while log.read_text().count("\n") < 3 and time.perf_counter() < ends_s:
        time.sleep(0.05)
    probe.stop()
    with log.open("a") as file:
        file.write("12.5,0.4")
    table = probe.write(tmp_path / "cell.speed.csv", zero_s)
    assert [path.name for path in tmp_path.iterdir()] == ["cell.speed.csv"]
    read = pd.read_csv(tmp_path / "cell.speed.csv")
    assert list(read.columns) == list(COLUMNS) and len(read) == len(table) >= 3
    assert (read > 0).all(axis=None) and (read["time_s"] < WAIT_S).all()


def test_a_record_is_of_the_window_and_twice_the_time_is_half_the_speed() -> None:
    times = {"time_s": [-0.1, 0.0, 1.0, 2.0]}
    table = pd.DataFrame(times | {name: [9.0, 1.0, 2.0, 9.0] for name in PROBES})
    assert speed_record(table, 2.0) == dict.fromkeys(PROBES, 1.5)
    assert speed_record(table, 0.0) is None
    assert np.diff(log_speeds(table))[1] == pytest.approx(-np.log(2))


def test_the_report_tells_each_cells_machine_speed_against_the_middle_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", 1, users=(1, 2, 4, 8))
    records = run.read_cells()
    assert "machine speed, %" not in write_report(run).read_text()
    for record, slower in zip(records, (1.0, 1.25, 0.8), strict=False):
        found = {"machine_speed": dict.fromkeys(PROBES, slower)}
        write_json(run.cells_folder / f"{Cell(**record['cell']).name}.json", record | found)
    assert [*relative_speeds(run.read_cells()).values()] == pytest.approx([1, 0.8, 1.25])
    page = write_report(run).read_text()
    assert re.search(r"u1-r1.*<td>100</td>", page) and re.search(r"u2-r1.*<td>80</td>", page)
    assert re.search(r"u8-r1.*<td>–</td>", page)
