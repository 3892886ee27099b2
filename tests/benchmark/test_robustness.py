"""What may befall a machine during a run: a full disk, a folder that is read-only, a clock that is set."""

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import EMBEDDED

from benchmark.runs.environment import ROOT
from benchmark.runs.records import Cell, RunFiles, write_json

TIMEOUT_S = 120
STEPPING_CLOCK = Path(__file__).parents[1] / "helpers" / "stepping_clock"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def start(
    results: Path, *options: str, setup: Callable[[], None] | None = None, **environment: str
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmark", "run", "--models", str(EMBEDDED), "--results", str(results)]
    command += ["--name", "run", "--warmup", "0.5", "--load-generator-limit", "0", "--no-charts", *options]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=setup,
    )


def end(running: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    with running:
        try:
            output, errors = running.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
    return subprocess.CompletedProcess(running.args, running.returncode, output, errors)


def run(results: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return end(start(results, *options, **more))


def test_a_full_disk_is_one_clear_line_and_leaves_no_half_cell(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk, from the moment that the run is described there."""
    limit = 2 << 10
    options = ("--servers", "optimized", "--tasks", "sentiment", "--workloads", "zipf", "--users", "50")
    running = start(tmp_path, *options, "--duration", "2", "--max-duration", "2")
    files = RunFiles(tmp_path / "run")
    while not (files.folder / "run.json").exists() and running.poll() is None:
        time.sleep(0.01)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (limit, limit))
    ended = end(running)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "cannot write the results" in ended.stderr and "File too large" in ended.stderr, ended.stderr
    assert "to resume: --name run" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
    assert files.read_run() and not list(files.cells_folder.iterdir())


def test_a_record_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    write_json(path, {"a": 1})
    (tmp_path / ".cell.json.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [*tmp_path.iterdir()] == [path]


def bound_by_permissions() -> None:
    """As root: without the capability to pass over them, which is what a read-only folder means to others."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


@pytest.mark.parametrize("folder", [".", "run/cells"])
def test_a_read_only_folder_is_one_clear_line_before_anything_is_measured(
    tmp_path: Path, folder: str
) -> None:
    options = ("--servers", "dynamic_batching", "--users", "1", "--tasks", "sentiment", "--duration", "1")
    closed = tmp_path / folder
    closed.mkdir(parents=True, exist_ok=True)
    closed.chmod(0o555)
    try:
        ended = run(tmp_path, *options, setup=bound_by_permissions)
    finally:
        closed.chmod(0o755)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "cannot write the results" in ended.stderr and "Permission denied" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "[1/1]" not in ended.stdout, "no cell was begun"


def test_durations_do_not_follow_a_clock_that_is_set_in_mid_run(tmp_path: Path) -> None:
    """Runner, server and load generator all see the wall clock jump by an hour at every look."""
    ended = run(
        tmp_path,
        *(
            "--servers",
            "dynamic_batching",
            "--tasks",
            "translation",
            "--workloads",
            "unique:64",
            "--users",
            "1",
        ),
        *("--duration", "1", "--max-duration", "2"),
        PYTHONPATH=str(STEPPING_CLOCK),
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    files = RunFiles(tmp_path / "run")
    (record,) = files.read_cells()
    found = record["figures"]
    assert record["extension"].startswith("stopped at the cap of 2 s"), record
    assert found["duration_s"] == pytest.approx(2)
    assert 0 < found["cold_start_s"] < TIMEOUT_S
    requests = files.read_requests(Cell(**record["cell"]))
    assert requests["ok"].all()
    assert requests["latency_ms"].between(0, 60_000, inclusive="neither").all()
    assert requests["inference_ms"].between(0, 60_000, inclusive="neither").all()
    assert requests["start_s"].between(-60, 60).all()
    assert (
        pd.read_csv(files.cells_folder / f"{Cell(**record['cell']).name}.samples.csv")["time_s"]
        .between(-60, 60)
        .all()
    )
