"""The load generator limit: measured against a server that answers at once, and compared with cells."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED

from benchmark.measure import loopback
from benchmark.measure.load import run_load
from benchmark.measure.load_generator_limit import LoadGeneratorLimits, level_of, start_echo_server
from benchmark.measure.processes import ProcessFailed, Server
from benchmark.runs.environment import ROOT
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import TASKS, RunFiles, write_json
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import unique
from optimized.web.cpus import allowed_cpus

PLAN = Plan(
    ("dynamic_batching",),
    ("sentiment",),
    (("unique", 1),),
    (4,),
    1,
    1.0,
    0.5,
    30.0,
    load_generator_limit_s=1.0,
)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cores = tuple(allowed_cpus())
    with start_echo_server(cores, tmp_path_factory.mktemp("echo") / "log") as server:
        server.wait_ready(20)
        yield server


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("texts", [1, 3])
def test_an_echo_has_the_contracts_shape(echo: Server, task: str, texts: int) -> None:
    batch = texts > 1
    samples = list(islice(unique(task), texts))
    answer = loopback.post(echo.url + route(task, batch), content=request_body(samples, batch))
    assert answer.headers["server-timing"]
    found = problem(task, answer.status_code, answer.content, samples, batch=batch, check_labels=False)
    assert found is None


def test_an_echo_answers_a_request_that_comes_in_pieces_and_one_that_follows_at_once(
    echo: Server,
) -> None:
    one = b'POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"text": "a"}'
    with socket.create_connection(("127.0.0.1", int(echo.url.rpartition(":")[2])), timeout=10) as client:
        for piece in (one[:30], one[30:60], one[60:] + one):
            client.sendall(piece)
        received = b""
        while received.count(b'{"translation": "a"}') < 2:
            received += client.recv(4096)
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_a_load_that_does_not_end_is_stopped_at_its_limit(echo: Server, tmp_path: Path) -> None:
    endless = {"task": "sentiment", "users": 1, "spawn_rate": 1}
    with pytest.raises(ProcessFailed, match="did not end within 4 s"):
        run_load(echo, endless, tuple(allowed_cpus()), tmp_path / "log", limit_s=4)


def test_a_load_ends_by_itself_after_so_many_answers(echo: Server, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    options = {"task": "sentiment", "users": 2, "spawn_rate": 2, "answers": 50}
    run_load(echo, options, tuple(allowed_cpus()), tmp_path / "log", on_event=events.append)
    assert (events[0]["phase"], events[-1]["phase"]) == ("window", "end")
    assert events[-1]["answered"] >= 50 and events[-1]["errors"] == 0


def test_a_limit_is_measured_once_and_kept_with_the_run(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    lines: list[str] = []
    for _ in range(2):
        LoadGeneratorLimits(files).measure(PLAN, PLAN.cells(), Cores.split(), tmp_path, lines.append)
    assert len(lines) == 1 and lines[0].startswith("load generator limit, sentiment")
    (cell,) = PLAN.cells()
    rps = LoadGeneratorLimits(files).rps(cell)
    (kept,) = json.loads((tmp_path / "load_generator_limit.json").read_text()).values()
    assert rps == kept["throughput_rps"] > 100
    assert kept["load_cpu_percent"] > 0


def test_a_cell_near_the_load_generator_limit_is_invalid(tmp_path: Path) -> None:
    (cell,) = PLAN.cells()
    write_json(tmp_path / "run/load_generator_limit.json", {level_of(cell): {"throughput_rps": 5.0}})
    command = [
        sys.executable,
        "-m",
        "benchmark",
        "run",
        "--models",
        str(EMBEDDED),
        "--results",
        str(tmp_path),
    ]
    command += ["--name", "run", "--servers", cell.server, "--tasks", cell.task, "--users", "4"]
    command += ["--duration", "1", "--max-duration", "1", "--warmup", "0.5", "--no-charts"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (record,) = RunFiles(tmp_path / "run").read_cells()
    assert record["status"] == "invalid"
    assert "of the load generator limit of 5 RPS (at most 80% is valid)" in " ".join(
        record["invalid_reasons"]
    )
