"""The order of a run, the names of its cells, and the files that hold them."""

from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from benchmark.charts.caption import machine
from benchmark.commands import session
from benchmark.commands.session import ServerOptions
from benchmark.measure import processes
from benchmark.measure.processes import Child, Server
from benchmark.runs import environment, plan
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import SERVERS, TASKS, WORKLOADS, Cell, RunFiles, RunNotFound, write_json

CELLS = st.builds(
    Cell,
    st.sampled_from(SERVERS),
    st.sampled_from(TASKS),
    st.sampled_from(WORKLOADS),
    st.integers(1, 64),
    st.integers(1, 10_000),
    st.integers(1, 100),
)
PLAN = Plan(SERVERS, TASKS, (("unique", 1), ("zipf", 16)), (10, 50), 3, 20.0, 3.0, 60.0)


@given(CELLS, CELLS)
def test_two_cells_have_two_names(one: Cell, other: Cell) -> None:
    assert (one.name == other.name) == (one == other)


def test_records_come_in_the_order_of_their_cells(tmp_path: Path) -> None:
    cells = [Cell("baseline", "sentiment", "unique", 1, users, 1) for users in (1, 10, 9)]
    for cell in cells:
        RunFiles(tmp_path).write_cell(cell, {})
    assert [Cell(**record["cell"]) for record in RunFiles(tmp_path).read_cells()] == sorted(cells)


def test_every_cell_comes_once_and_rounds_rotate_the_servers() -> None:
    cells = list(PLAN.cells())
    assert len(cells) == len(set(cells)) == 3 * 2 * 2 * 2 * 3
    firsts = [next(cell.server for cell in cells if cell.repeat == repeat) for repeat in (1, 2, 3)]
    assert sorted(firsts) == sorted(SERVERS)
    for start in range(0, len(cells), len(SERVERS)):
        level = {(cell.task, cell.workload, cell.users, cell.repeat) for cell in cells[start : start + 3]}
        assert len(level) == 1


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    files.write_run({"plan": PLAN.as_json()})
    assert Plan.from_json(files.read_run()["plan"]) == PLAN


def test_the_latest_run_is_the_one_that_started_last(tmp_path: Path) -> None:
    for name, started in (("b", "2026-01-01T00:00:00+00:00"), ("a", "2026-02-01T00:00:00+00:00")):
        RunFiles(tmp_path / name).write_run({"started_at": started})
    assert RunFiles.latest(tmp_path).folder.name == "a"
    with pytest.raises(RunNotFound, match="make bench"):
        RunFiles.latest(tmp_path / "nowhere")


def test_a_json_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == '{\n  "a": 1\n}\n'


@pytest.mark.parametrize(
    ("usable", "quota", "wanted", "server", "load"),
    [
        ([0, 1], None, None, (0,), (1,)),
        ([0, 1, 2, 3], None, None, (0, 1, 2), (3,)),
        ([0, 1, 2, 3], None, 1, (0,), (3,)),
        ([5], None, None, (5,), (5,)),
        ([0, 1, 2, 3], 3.0, None, (1, 2), (3,)),
        ([0, 1, 2, 3], 2.9, None, (2,), (3,)),
        ([0, 1, 2, 3], 1.5, None, (3,), (3,)),
        ([0, 1, 2, 3], 0.5, None, (3,), (3,)),
        ([0, 1, 2, 3], 64.0, None, (0, 1, 2), (3,)),
        ([0, 1, 2, 3], 1.0, 2, (0, 1), (3,)),
    ],
)
def test_the_load_generator_has_a_core_of_its_own_within_the_quota(
    monkeypatch: pytest.MonkeyPatch,
    usable: list[int],
    quota: float | None,
    wanted: int | None,
    server: tuple[int, ...],
    load: tuple[int, ...],
) -> None:
    monkeypatch.setattr(plan, "allowed_cpus", lambda: usable)
    monkeypatch.setattr(plan, "cpu_quota", lambda: quota)
    cores = Cores.split(wanted)
    assert (cores.server, cores.load) == (server, load)
    assert cores.apart == (server != load)


@pytest.mark.parametrize(
    ("quota", "wanted", "pinned"), [(0.5, None, 1), (1.0, 2, 3), (2.5, 2, 3), (2.0, 1, None), (3.0, 2, None)]
)
def test_a_run_that_its_quota_would_throttle_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    quota: float,
    wanted: int | None,
    pinned: int | None,
) -> None:
    monkeypatch.setattr(plan, "allowed_cpus", lambda: [0, 1, 2, 3])
    for module in (plan, session):
        monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    run = ServerOptions(server_cores=wanted)
    if pinned is None:
        assert run.cores
        return
    with pytest.raises(typer.Exit):
        _ = run.cores
    said = capsys.readouterr().err
    assert f"CPU quota of this container is {quota:g}" in said and f"pins {pinned}," in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("quota", [None, 1.5])
def test_a_record_says_the_quota_and_whether_cores_are_pinned(
    monkeypatch: pytest.MonkeyPatch, quota: float | None
) -> None:
    monkeypatch.setattr(environment, "cpu_quota", lambda: quota)
    cores = Cores((0,), (1,))
    monkeypatch.setattr(environment, "can_pin", lambda: True)
    record = environment.environment_record(cores, {})
    assert record["cpu_quota"] == quota and record["cores"] == {"server": [0], "load": [1]}
    assert "not pinned" not in machine(record)
    monkeypatch.setattr(environment, "can_pin", lambda: False)
    record = environment.environment_record(cores, {})
    assert record["cores"] == {"server": [0], "load": [1], "pinned": False}
    assert machine(record).endswith(", server 1 core, load 1 core, not pinned")


@pytest.mark.parametrize(
    ("pins", "own", "threads"), [(False, None, "3"), (False, "7", "7"), (True, None, None)]
)
def test_a_server_that_is_not_pinned_has_as_many_threads_as_it_was_given_cores(
    monkeypatch: pytest.MonkeyPatch, pins: bool, own: str | None, threads: str | None
) -> None:
    seen: dict[str, str | None] = {}
    monkeypatch.setattr(processes, "can_pin", lambda: pins)
    monkeypatch.setattr(Child, "__init__", lambda *args, **more: seen.update(args[4]))
    monkeypatch.delenv("GAP_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("GAP_THREADS", own)
    Server("optimized", 8000, (0, 1, 2), Path("log"), {"GAP_FAULTS": "x"})
    assert seen.get("GAP_THREADS") == threads and seen["GAP_FAULTS"] == "x"
