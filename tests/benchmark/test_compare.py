"""Two runs held against each other: what is refused, what is left out, and what the exit code says."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.runs.records import Cell, RunFiles, RunNotFound, read_json, write_json
from benchmark.stats import figures as stats
from benchmark.stats.compare import NotComparable, compare_runs, find_run
from benchmark.stats.intervals import SAME, SLOWER
from benchmark.stats.repeats import COMPARED, compare, repeats_of

RPS = COMPARED[0]
DURATION_S = 20.0
SERVICE_S = {"baseline": 0.04, "optimized": 0.01, "dynamic_batching": 0.01}


def requests_of(service_s: float, users: int, rng: np.random.Generator) -> pd.DataFrame:
    """The requests of a closed loop on one server that answers them in turn, after a warm-up."""
    count = int(1.5 * DURATION_S / service_s) + 4 * users
    answered_s = np.cumsum(service_s * rng.lognormal(-0.08, 0.4, count)) - 2 * users * service_s
    asked_s = np.concatenate([np.full(users, answered_s[0] - service_s), answered_s[:-users]])
    columns = {"start_s": asked_s, "latency_ms": (answered_s - asked_s) * 1e3, "texts": 1, "ok": True}
    return pd.DataFrame({**columns, "error": None, "queue_ms": 1.0, "inference_ms": 1.0, "cache": None})


def make_run(
    folder: Path,
    seed: int,
    speed: float = 1.0,
    servers: Sequence[str] = ("baseline",),
    repeats: int = 5,
    users: Sequence[int] = (10, 50),
    speeds: Sequence[float] = (),
) -> RunFiles:
    """A run of valid translation cells, all `speed` times as fast; `speeds` are those of each round."""
    run = RunFiles(folder)
    artefact = {"architecture": "Marian", "files": {"model.safetensors": {"sha256": "aa"}}, "trained": True}
    run.write_run(
        {
            "name": folder.name,
            "started_at": "2026-01-02T03:04:05+00:00",
            "plan": {"servers": list(servers), "repeats": repeats, "duration_s": DURATION_S},
            "environment": {
                "machine": {"cpu": "AMD EPYC", "logical_cores": 2},
                "cores": {"server": [0], "load": [1]},
                "versions": {"torch": "1"},
                "commit": "abc1234",
                "dirty": False,
            },
            "models": {
                "source": "embedded",
                "artefacts": {
                    "translation/pytorch": artefact,
                    "translation/onnx": {"bytes": 5, "files": {}, "trained": True},
                },
            },
        }
    )
    run.cells_folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for repeat in range(1, repeats + 1):
        for server in servers:
            for level in users:
                cell = Cell(server, "translation", "unique", 1, level, repeat)
                fast = speed * (speeds[repeat - 1] if speeds else 1.0)
                requests_of(SERVICE_S[server] / fast, level, rng).to_csv(run.requests_path(cell), index=False)
                found = stats.figures(run.read_requests(cell), DURATION_S)
                record = {"status": "ok", "invalid_reasons": [], "figures": found, "model": artefact}
                run.write_cell(cell, record)
    return run


def change(path: Path, at: str, value: object) -> None:
    """Sets the field with the dotted name `at` in a JSON file."""
    content = part = read_json(path)
    *outer, last = at.split(".")
    for key in outer:
        part = part[key]
    part[last] = value
    write_json(path, content)


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of unchanged code on a machine that drifted by 4 %, and one of a server slowed by 15 %."""
    results = tmp_path_factory.mktemp("results")
    make_run(results / "before", seed=1)
    make_run(results / "again", seed=2, speed=0.96)
    make_run(results / "slowed", seed=3, speed=0.85)
    return results


def test_unchanged_code_on_a_machine_that_drifted_is_no_regression(folder: Path) -> None:
    rows, warnings = compare_runs(RunFiles(folder / "before"), RunFiles(folder / "again"))
    assert [row.verdict for row in rows] == [SAME] * 6
    assert {row.compared.figure.heading for row in rows} == {"RPS", "p50, ms", "p95, ms"}
    assert warnings == []
    ended = asked("before", "again", "--results", folder)
    assert ended.exit_code == 0, ended.output
    assert "6 figures: 0 faster, 0 slower, 6 indistinguishable" in ended.output


def test_a_server_slowed_by_15_percent_is_a_regression(folder: Path) -> None:
    ended = asked(folder / "before", folder / "slowed")
    assert ended.exit_code == 1, ended.output
    rows, _ = compare_runs(RunFiles(folder / "before"), RunFiles(folder / "slowed"))
    assert [row.verdict for row in rows].count(SLOWER) >= 5
    assert rows[0].compared.ratio.value == pytest.approx(0.85, abs=0.04)


def test_the_same_slowdown_the_other_way_round_is_no_regression(folder: Path) -> None:
    ended = asked(folder / "slowed", folder / "before")
    assert ended.exit_code == 0, ended.output
    assert re.search(r"[56] faster, 0 slower", ended.output)


def test_a_smallest_effect_above_the_slowdown_leaves_it_unjudged(folder: Path) -> None:
    assert asked(folder / "before", folder / "slowed", "--threshold-percent", "30").exit_code == 0


def test_every_row_of_the_table_shows_both_runs_and_the_interval(folder: Path) -> None:
    rows, _ = compare_runs(RunFiles(folder / "before"), RunFiles(folder / "slowed"))
    output = asked("before", "slowed", "--results", folder).output
    for row in rows:
        interval = row.compared.ratio.interval
        assert interval is not None
        assert f"{row.compared.ratio.value:.3f}" in output
        assert f"{interval.low:.3f} to {interval.high:.3f}" in output


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        ("models.source", "random", "the models are of another source: embedded and random"),
        ("environment.machine.cpu", "Xeon", "the CPU is another one: AMD EPYC and Xeon"),
        ("environment.machine.logical_cores", 8, "the number of cores is another one: 2 and 8"),
        ("environment.cores.server", [0, 2], "the servers and load had other cores"),
        (
            "models.artefacts.translation/pytorch.files",
            {"model.safetensors": {"sha256": "bb"}},
            "the weights differ: translation/pytorch",
        ),
    ],
)
def test_what_would_measure_something_else_is_refused(
    folder: Path, tmp_path: Path, at: str, value: object, message: str
) -> None:
    other = shutil.copytree(folder / "again", tmp_path / "other")
    change(other / "run.json", at, value)
    ended = asked(folder / "before", other)
    assert ended.exit_code == 2
    assert message in ended.output and len(ended.output.splitlines()) == 1


def test_what_may_matter_is_a_warning(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder / "again", tmp_path / "other")
    change(other / "run.json", "plan.duration_s", 8.0)
    change(other / "run.json", "environment.versions", {"torch": "2", "numpy": "1"})
    ended = asked(folder / "before", other)
    assert ended.exit_code == 0
    for line in ("duration_s differs: 20.0 and 8.0", "torch differs: 1 and 2", "numpy differs: none and 1"):
        assert f"warning: {line}\n" in ended.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("before", "nothing"), "there is no run nothing"),
        (("before",), "Missing argument 'B'"),
    ],
)
def test_a_users_error_is_one_clear_line_and_exit_code_2(
    folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    ended = asked(*arguments, "--results", folder)
    assert ended.exit_code == 2
    assert message in ended.output


def test_a_run_is_found_by_its_name_in_the_reference_too(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "again", tmp_path / "reference" / "kept")
    assert find_run("kept", tmp_path).folder == tmp_path / "reference" / "kept"
    with pytest.raises(RunNotFound, match="no run before"):
        find_run("before", tmp_path)


def test_invalid_and_reused_cells_are_left_out(folder: Path, tmp_path: Path) -> None:
    other = RunFiles(shutil.copytree(folder / "slowed", tmp_path / "other"))
    for path in other.cells_folder.glob("*-u10-*.json"):
        change(path, "status", "invalid")
    rows, _ = compare_runs(RunFiles(folder / "before"), other)
    assert {row.cell.users for row in rows} == {50}
    change(other.cells_folder / "baseline-translation-unique-x1-u50-r1.json", "from_run", "elsewhere")
    with pytest.raises(NotComparable, match="no valid cell in common"):
        compare_runs(RunFiles(folder / "before"), other)


def test_only_rounds_that_both_have_are_compared(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", seed=1, repeats=4, users=(10,), speeds=(1.0, 1.0, 1.0, 9.0))
    second = make_run(tmp_path / "b", seed=2, repeats=3, users=(10,))
    rows, _ = compare_runs(first, second)
    assert {(row.compared.rounds, row.verdict) for row in rows} == {(3, SAME)}


def test_two_runs_of_one_round_show_ratios_and_no_verdict(tmp_path: Path) -> None:
    make_run(tmp_path / "a", seed=1, repeats=1, users=(10,))
    make_run(tmp_path / "b", seed=2, repeats=1, users=(10,), speed=0.5)
    ended = asked("a", "b", "--results", tmp_path)
    assert ended.exit_code == 0
    assert "0 faster, 0 slower, 0 indistinguishable, 3 n < 3 rounds" in ended.output


def test_servers_of_one_run_are_paired_by_round(tmp_path: Path) -> None:
    """A drift that falls on both servers of a round widens each one's interval, and not their ratio's."""
    servers, speeds = ("baseline", "optimized"), (1.0, 0.8, 1.2, 0.7, 1.1)
    run = make_run(tmp_path / "a", 1, servers=servers, users=(10,), speeds=speeds)
    first, second = repeats_of(run).values()
    compared, own = compare(first, second, RPS), first.interval(RPS)
    assert compared is not None and compared.ratio.interval is not None and own is not None
    assert compared.ratio.value == pytest.approx(4, rel=0.05)
    assert compared.ratio.interval.high / compared.ratio.interval.low < 1.15
    assert own.high / own.low > 1.3
