"""Two revisions measured in turns: what counts as slower, what is left out, and what the exit code says."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.commands.compare import Compare
from benchmark.experiments.compare_revisions import CONFIGURATIONS, repeats_by_revision
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles, read_json, write_json
from benchmark.stats import figures as stats
from benchmark.stats.compare import Row, compare_cells
from benchmark.stats.intervals import SAME, SLOWER, SMALLEST_EFFECT
from benchmark.stats.repeats import COMPARED, compare, repeats_of

RPS = COMPARED[0]
DURATION_S = 20.0
SERVICE_S = 0.01
# The machine's speed in each round, which falls on both revisions.
DRIFT = (1.0, 0.8, 1.2, 0.7, 1.1)
MANIFEST = {
    "source": "embedded",
    "artefacts": {"translation/onnx": {"bytes": 5, "files": {}, "trained": True}},
}


def requests_of(service_s: float, users: int, rng: np.random.Generator) -> pd.DataFrame:
    """The requests of a closed loop on one server that answers them in turn, after a warm-up."""
    count = int(1.5 * DURATION_S / service_s) + 4 * users
    answered_s = np.cumsum(service_s * rng.lognormal(-0.08, 0.4, count)) - 2 * users * service_s
    asked_s = np.concatenate([np.full(users, answered_s[0] - service_s), answered_s[:-users]])
    columns = {"start_s": asked_s, "latency_ms": (answered_s - asked_s) * 1e3, "texts": 1, "ok": True}
    return pd.DataFrame({**columns, "error": None, "queue_ms": 1.0, "inference_ms": 1.0, "cache": None})


def make_run(
    results: Path, name: str, speed_of_b: float = 1.0, repeats: int = 5, users: Sequence[int] = (10, 50)
) -> RunFiles:
    """A whole run of translation cells of both revisions, as `compare` measures and resumes it."""
    models = results / "models"
    write_json(models / "manifest.json", MANIFEST)
    command = Compare(
        a="HEAD",
        b=".",
        tasks=("translation",),
        users=users,
        duration=DURATION_S,
        repeats=repeats,
        models=models,
    )
    plan = command.plan(Plan, CONFIGURATIONS, (("unique", 1),))
    run = RunFiles(results / name)
    record = {
        "name": name,
        "started_at": "2026-01-02T03:04:05+00:00",
        "plan": plan.as_json(),
        "models": MANIFEST,
    }
    run.write_run({**record, "environment": {"commit": "abc1234"}})
    run.cells_folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for cell in plan.cells():
        speed = DRIFT[cell.repeat - 1] * (speed_of_b if cell.server == "b" else 1.0)
        requests_of(SERVICE_S / speed, cell.users, rng).to_csv(run.requests_path(cell), index=False)
        figures = stats.figures(run.read_requests(cell), DURATION_S)
        run.write_cell(cell, {"status": "ok", "invalid_reasons": [], "figures": figures})
    return run


def rows_of(run: RunFiles) -> list[Row]:
    return compare_cells(*repeats_by_revision(run, "dynamic_batching"), SMALLEST_EFFECT)


def asked(run: RunFiles, *arguments: object) -> Result:
    """What `compare` says of a run that has nothing left to measure."""
    plan = run.read_run()["plan"]
    options = {
        "--results": run.folder.parent,
        "--models": run.folder.parent / "models",
        "--name": run.folder.name,
        "--tasks": "translation",
        "--users": ",".join(map(str, plan["users"])),
        "--duration": DURATION_S,
        "--repeats": plan["repeats"],
    }
    flat = [part for option in options.items() for part in option]
    return CliRunner().invoke(app, [*map(str, ["compare", ".", ".", *flat, *arguments])])


def change(path: Path, field: str, value: object) -> None:
    write_json(path, read_json(path) | {field: value})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def unchanged(folder: Path) -> RunFiles:
    return make_run(folder, "unchanged")


@pytest.fixture(scope="module")
def slowed(folder: Path) -> RunFiles:
    """B is slower by 15 %."""
    return make_run(folder, "slowed", speed_of_b=0.85)


def test_unchanged_code_on_a_machine_that_drifts_is_no_regression(unchanged: RunFiles) -> None:
    rows = rows_of(unchanged)
    assert [row.verdict for row in rows] == [SAME] * 6
    assert {row.compared.figure.heading for row in rows} == {"RPS", "p50, ms", "p95, ms"}
    ended = asked(unchanged)
    assert ended.exit_code == 0, ended.output
    assert "6 figures: 0 faster, 0 slower, 6 indistinguishable" in ended.output


def test_a_server_slowed_by_15_percent_is_a_regression(slowed: RunFiles) -> None:
    rows = rows_of(slowed)
    assert [row.verdict for row in rows].count(SLOWER) >= 5
    assert rows[0].compared.ratio.value == pytest.approx(0.85, abs=0.04)
    ended = asked(slowed)
    assert ended.exit_code == 3, ended.output


def test_the_same_change_for_the_better_is_no_regression(folder: Path) -> None:
    ended = asked(make_run(folder, "faster", speed_of_b=1 / 0.85))
    assert ended.exit_code == 0, ended.output
    assert re.search(r"[56] faster, 0 slower", ended.output)


def test_a_smallest_effect_above_the_slowdown_leaves_it_unjudged(slowed: RunFiles) -> None:
    assert asked(slowed, "--threshold-percent", "30").exit_code == 0


def test_every_row_of_the_table_shows_both_revisions_and_the_interval(slowed: RunFiles) -> None:
    output = asked(slowed).output
    for row in rows_of(slowed):
        interval = row.compared.ratio.interval
        assert interval is not None
        assert f"{row.compared.ratio.value:.3f}" in output
        assert f"{interval.low:.3f} to {interval.high:.3f}" in output


def test_invalid_cells_are_left_out(folder: Path) -> None:
    run = make_run(folder, "invalid", repeats=3)
    for path in run.cells_folder.glob("b-*-u10-*.json"):
        change(path, "status", "invalid")
    assert {row.cell.users for row in rows_of(run)} == {50}
    for path in run.cells_folder.glob("b-*-u50-*.json"):
        change(path, "status", "invalid")
    with pytest.raises(BenchmarkError, match="no valid cell in common"):
        rows_of(run)
    ended = asked(run)
    assert ended.exit_code == 1 and "no valid cell in common" in ended.output


def test_only_rounds_that_both_have_are_compared(folder: Path) -> None:
    run = make_run(folder, "unpaired", repeats=4, users=(10,))
    change(run.cells_folder / "a-translation-unique-x1-u10-r4.json", "status", "invalid")
    assert {(row.compared.rounds, row.verdict) for row in rows_of(run)} == {(3, SAME)}


def test_one_round_shows_ratios_and_no_verdict(folder: Path) -> None:
    ended = asked(make_run(folder, "short", speed_of_b=0.5, repeats=1, users=(10,)))
    assert ended.exit_code == 0
    assert "0 faster, 0 slower, 0 indistinguishable, 3 n < 3 rounds" in ended.output


def test_cells_of_one_round_are_paired(folder: Path) -> None:
    """A drift that falls on both of a round widens each one's interval, and not their ratio's."""
    first, second = repeats_of(make_run(folder, "paired", speed_of_b=4.0, users=(10,))).values()
    compared, own = compare(first, second, RPS), first.interval(RPS)
    assert compared is not None and compared.ratio.interval is not None and own is not None
    assert compared.ratio.value == pytest.approx(4, rel=0.05)
    assert compared.ratio.interval.high / compared.ratio.interval.low < 1.15
    assert own.high / own.low > 1.3
