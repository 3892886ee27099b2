"""A server is one process: whoever asks for several gets a line that says what to do instead."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import EMBEDDED, READY_TIMEOUT_S, SERVERS, is_ready, serving
from start_and_fail import start_and_fail

from benchmark.measure.processes import Child, free_port
from benchmark.runs.environment import ROOT
from optimized.web.cpus import allowed_cpus
from optimized.web.single_process import require_no_siblings, require_one_worker

VARIABLES = "UVICORN_WORKERS", "WEB_CONCURRENCY"
STOPS_SUPERVISORS = 3


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "SERVER_SOFTWARE", "GUNICORN_CMD_ARGS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [
        (["--workers", "2"], {}, "--workers has the value '2'"),
        (["--port", "80", "--workers=many"], {}, "--workers has the value 'many'"),
        ([], {"WEB_CONCURRENCY": "2"}, "WEB_CONCURRENCY has the value '2'"),
        ([], {"WEB_CONCURRENCY": "auto"}, "WEB_CONCURRENCY has the value 'auto'"),
        ([], {"UVICORN_WORKERS": "4"}, "UVICORN_WORKERS has the value '4'"),
        ([], {"UVICORN_WORKERS": "1", "WEB_CONCURRENCY": "4"}, None),
        (["--workers", "1"], {"UVICORN_WORKERS": "4", "WEB_CONCURRENCY": "4"}, None),
        ([], {"WEB_CONCURRENCY": ""}, None),
        (["--port", "80", "--workers"], {}, None),
        ([], {}, None),
    ],
)
def test_only_one_worker_is_taken(
    monkeypatch: pytest.MonkeyPatch, options: list[str], variables: dict[str, str], named: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if named is None:
        require_one_worker(options, *VARIABLES)
        return
    with pytest.raises(SystemExit) as caught:
        require_one_worker(options, *VARIABLES)
    message = str(caught.value)
    assert (
        named in message and "GAP_THREADS" in message and "behind a proxy" in message and "\n" not in message
    )


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("variable", ["", *VARIABLES])
def test_a_server_refuses_several_processes_at_once(name: str, variable: str) -> None:
    settings = {variable: "2"} if variable else {}
    code, output = start_and_fail(name, 0, *([] if variable else ["--workers", "2"]), **settings)
    assert code == 1 and output.startswith(f"error: {variable or '--workers'} has the value '2'")
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"GAP_MODELS_DIR": str(EMBEDDED)}) for name in SERVERS),
        ("optimized", {"GAP_MODELS_DIR": "nowhere"}),
        ("optimized", {"GAP_THREADS": "x"}),
    ],
)
def test_a_supervisor_of_several_processes_stops_at_once(name: str, settings: dict[str, str]) -> None:
    command = [sys.executable, "-m", "uvicorn", f"{name}.server:app", "--workers", "2"]
    command += ["--timeout-worker-healthcheck", "1"]
    ended = subprocess.run(
        [*command, "--port", str(free_port())],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=READY_TIMEOUT_S,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    # Each of its processes says it, unless the first that ends takes the other along.
    assert 1 <= len(lines) <= 2 and "--workers has the value '2'" in lines[0]
    assert "Traceback" not in ended.stderr and "stopping the parent process" in ended.stderr


def test_reloading_is_one_process_and_serves(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "optimized", "--port", str(port)]
    command += ["--reload", "--reload-dir", str(tmp_path)]
    child = Child(command, tuple(allowed_cpus()), tmp_path / "log", {"GAP_MODELS_DIR": str(EMBEDDED)})
    try:
        ends_s = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(port):
            assert child.process.poll() is None and time.monotonic() < ends_s, child.last_line()
    finally:
        child.stop()


@pytest.mark.parametrize(
    ("arguments", "variables", "refused"),
    [
        (["-w", "4"], {}, True),
        (["-w4"], {}, True),
        (["--workers=4"], {}, True),
        ([], {"GUNICORN_CMD_ARGS": "--bind=127.0.0.1 --workers=3"}, True),
        ([], {"WEB_CONCURRENCY": "3"}, True),
        (["-w", "1"], {"WEB_CONCURRENCY": "3"}, False),
        (["-k", "uvicorn_worker.UvicornWorker"], {}, False),
    ],
)
def test_gunicorn_is_stopped_as_well(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    variables: dict[str, str],
    refused: bool,
) -> None:
    monkeypatch.setattr(sys, "argv", ["gunicorn", "optimized.server:app", *arguments])
    require_no_siblings()
    for name, value in {**variables, "SERVER_SOFTWARE": "gunicorn/27.0.1"}.items():
        monkeypatch.setenv(name, value)
    if not refused:
        require_no_siblings()
        return
    with pytest.raises(SystemExit) as caught:
        require_no_siblings()
    assert caught.value.code == STOPS_SUPERVISORS
    assert "behind a proxy" in capsys.readouterr().err


def test_the_benchmark_runs_one_process_whatever_its_own_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "2")
    with serving("optimized", tmp_path) as server:
        assert psutil.Process(server.pid).children() == []
