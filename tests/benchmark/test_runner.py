"""The whole chain on a real server: a run leaves files that say what happened, whatever happened."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from conftest import EMBEDDED

from benchmark.measure.closed_loop import Measurement
from benchmark.measure.validity import invalid_reasons
from benchmark.runs.environment import ROOT
from benchmark.runs.records import REQUEST_COLUMNS, Cell, RunFiles
from benchmark.stats.figures import figures

TIMEOUT_S = 120


def command(results: Path, *options: str) -> list[str]:
    run = [sys.executable, "-m", "benchmark", "run", "--models", str(EMBEDDED), "--results", str(results)]
    run += ["--name", "run", "--duration", "1", "--warmup", "0.2", "--tasks", "sentiment"]
    run += ["--max-duration", "1", "--load-generator-limit", "0", "--servers", "dynamic_batching"]
    return [*run, *options]


def start(results: Path, *options: str) -> subprocess.Popen[str]:
    # A background job's interrupts are ignored, by what it starts too.
    return subprocess.Popen(
        command(results, *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def wait_for(process: subprocess.Popen[str], seen: str) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if seen in line:
            return
    pytest.fail(f"no {seen!r} in:\n{''.join(lines)}")


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def finish(process: subprocess.Popen[str], children: list[psutil.Process]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a child outlived the run"
    return process.returncode, output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFiles, str]:
    results = tmp_path_factory.mktemp("results")
    ended = subprocess.run(
        command(results, "--users", "1,4"), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return RunFiles(results / "run"), ended.stdout


def test_a_run_keeps_every_request_and_its_figures_follow_from_them(run: tuple[RunFiles, str]) -> None:
    files, _ = run
    assert [record["cell"]["users"] for record in files.read_cells()] == [1, 4]
    for record in files.read_cells():
        cell = Cell(**record["cell"])
        requests = files.read_requests(cell)
        assert list(requests.columns) == list(REQUEST_COLUMNS)
        found = figures(requests, record["figures"]["duration_s"])
        assert {name: record["figures"][name] for name in found} == pytest.approx(found, nan_ok=True)
        assert requests["ok"].all() and found["requests"] > 5
        assert (requests["inference_ms"] < requests["latency_ms"]).all()
        samples = pd.read_csv(files.cells_folder / f"{cell.name}.samples.csv")
        assert (samples["server_rss_bytes"] > 50e6).all()


def test_a_cells_record_says_what_it_depends_on(run: tuple[RunFiles, str]) -> None:
    files, _ = run
    record = files.read_cells()[0]
    environment = record["environment"]
    assert environment["machine"]["cpu"] and environment["versions"]["torch"]
    cores = environment["cores"]
    assert not set(cores["server"]) & set(cores["load"]) or record["status"] == "invalid"
    assert record["model"]["origin"].startswith("embedded")
    assert 0 < record["figures"]["cold_start_s"] < TIMEOUT_S
    assert str(ROOT) not in json.dumps(record)


def test_a_run_ends_with_charts_and_a_report(run: tuple[RunFiles, str]) -> None:
    files, output = run
    assert list((files.folder / "charts").glob("*.png"))
    assert (files.folder / "report.html").is_file()
    assert "report.html" in output


def test_progress_names_cell_phase_and_time_left(run: tuple[RunFiles, str]) -> None:
    _, output = run
    assert "[1/2] dynamic_batching-sentiment-unique-x1-u1-r1  measure" in output
    assert "RPS" in output and "left" in output and "errors" in output


def test_a_finished_run_measures_nothing_again(run: tuple[RunFiles, str]) -> None:
    files, _ = run
    before = {path: path.stat().st_mtime_ns for path in files.cells_folder.iterdir()}
    again = command(files.folder.parent, "--users", "1,4", "--no-charts")
    subprocess.run(again, cwd=ROOT, check=True, capture_output=True, timeout=TIMEOUT_S)
    assert {path: path.stat().st_mtime_ns for path in files.cells_folder.iterdir()} == before


def test_another_plan_under_the_same_name_is_refused(run: tuple[RunFiles, str]) -> None:
    files, _ = run
    ended = subprocess.run(
        command(files.folder.parent, "--users", "3"), cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert "another plan" in ended.stderr and "Traceback" not in ended.stderr


def test_a_cache_is_full_before_it_is_measured(tmp_path: Path) -> None:
    options = ("--servers", "optimized", "--workloads", "unique,zipf", "--users", "2", "--no-charts")
    subprocess.run(command(tmp_path, *options), cwd=ROOT, check=True, capture_output=True, timeout=TIMEOUT_S)
    hit_rates = {
        record["cell"]["workload"]: record["figures"]["cache_hit_rate"]
        for record in RunFiles(tmp_path / "run").read_cells()
    }
    assert hit_rates["unique"] == 0 and 0.9 < hit_rates["zipf"] < 1


def kill_server(process: subprocess.Popen[str], children: list[psutil.Process]) -> None:
    next(child for child in children if "--no-access-log" in child.cmdline()).kill()


def interrupt(process: subprocess.Popen[str], children: list[psutil.Process]) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("fault", "at", "code", "message", "statuses"),
    [
        (
            kill_server,
            "u1-r1  measure",
            1,
            "dynamic_batching ended in mid-run (killed by signal 9)",
            ["failed", "ok"],
        ),
        (interrupt, "u2-r1  warm-up", 130, "interrupted; what was measured before is kept", ["ok"]),
    ],
)
def test_a_fault_costs_the_cell_it_falls_on_and_the_same_command_measures_it(
    tmp_path: Path,
    fault: Callable[[subprocess.Popen[str], list[psutil.Process]], None],
    at: str,
    code: int,
    message: str,
    statuses: list[str],
) -> None:
    plan = ["--users", "1,2", "--no-charts"]
    process = start(tmp_path, *plan)
    wait_for(process, at)
    children = children_of(process)
    fault(process, children)
    returned, output = finish(process, children)
    assert (returned, message in output) == (code, True), output
    assert "Traceback" not in output and "--name run" in output
    records = RunFiles(tmp_path / "run").read_cells()
    assert [record["status"] for record in records] == statuses
    for record in records:
        assert (record["figures"] == {}) == (record["status"] == "failed"), "a dead server has no figures"

    resumed = subprocess.run(
        command(tmp_path, *plan),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "resuming run run" in resumed.stdout
    assert "[1/2]" not in resumed.stdout and "[2/2]" in resumed.stdout
    assert [record["status"] for record in RunFiles(tmp_path / "run").read_cells()] == ["ok", "ok"]


def test_a_killed_runner_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start(tmp_path, "--users", "1")
    wait_for(process, "warm-up")
    children = children_of(process)
    assert len(children) >= 2
    process.kill()
    finish(process, children)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    ended = subprocess.run(command(tmp_path / "results"), cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1 and "cannot write" in ended.stderr and "Traceback" not in ended.stderr


def test_wrong_answers_make_a_cell_invalid_not_fast() -> None:
    rows = pd.DataFrame(
        {
            "start_s": [0.1, 0.2],
            "latency_ms": [5.0, 1.0],
            "texts": 1,
            "ok": [True, False],
            "error": ["", "HTTP 500"],
        }
    ).assign(queue_ms=None, inference_ms=None, cache=None)
    found = figures(rows, 1.0)
    assert (found["throughput_rps"], found["failures"], found["max_ms"]) == (1.0, 1, 5.0)


@pytest.mark.parametrize(
    ("figures_", "more", "apart", "reason"),
    [
        ({}, {}, True, None),
        ({"load_cpu_percent": 95.0}, {}, True, "95 % busy"),
        ({"throughput_rps": 79.0}, {}, True, None),
        ({"throughput_rps": 80.0}, {}, True, "80% of the load generator limit of 100 RPS"),
        ({"requests": 15}, {}, True, "15 requests were answered"),
        ({}, {"steady": False}, True, "not every user"),
        ({}, {"errors": {"HTTP 500": 2, "HTTP 503": 1}}, True, "3 requests failed (most: HTTP 500)"),
        ({}, {}, False, "shared a core"),
    ],
)
def test_a_cell_says_why_its_figures_mean_nothing(
    figures_: dict[str, float], more: dict[str, Any], apart: bool, reason: str | None
) -> None:
    values = {"load_cpu_percent": 10.0, "requests": 16, "throughput_rps": 10.0, **figures_}
    measured = Measurement(values, {}, steady=True, extension="")
    reasons = invalid_reasons(replace(measured, **more), apart, 60.0, load_generator_rps=100.0)
    assert len(reasons) == (reason is not None)
    assert reason is None or reason in reasons[0]
