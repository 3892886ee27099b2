"""A run of other servers takes the cells of the latest comparable baseline, and names its run."""

from pathlib import Path
from typing import Any

import pytest

from benchmark.runs.plan import Plan
from benchmark.runs.records import Cell, RunFiles
from benchmark.runs.reuse_baseline import reuse_baseline

CELL = Cell("baseline", "sentiment", "unique", 1, 10, 1)


def make_run(
    results: Path, name: str, server: str, *, cpu: str = "a", weights: str = "w", day: int = 1
) -> RunFiles:
    files = RunFiles(results / name)
    plan = Plan((server,), ("sentiment",), (("unique", 1),), (10,), 1, 1.0, 0.0, 1.0)
    artefact: dict[str, Any] = {"files": {"model.safetensors": {"sha256": weights}}}
    files.write_run(
        {
            "name": name,
            "started_at": f"2026-01-{day:02d}T00:00:00+00:00",
            "plan": plan.as_json(),
            "environment": {"machine": {"cpu": cpu, "logical_cores": 2}, "cores": {"server": [0]}},
            "models": {"artefacts": {"sentiment/pytorch": artefact, "sentiment/onnx": {"files": {}}}},
        }
    )
    record = {"status": "ok", "invalid_reasons": [], "figures": {"throughput_rps": float(day)}}
    files.write_cell(Cell(server, *list(CELL.__dict__.values())[1:]), record)
    return files


def test_the_last_comparable_baseline_is_taken_and_named(tmp_path: Path) -> None:
    make_run(tmp_path, "old", "baseline", day=1)
    make_run(tmp_path, "new", "baseline", day=2)
    make_run(tmp_path, "elsewhere", "baseline", day=3, cpu="b")
    make_run(tmp_path, "other-weights", "baseline", day=4, weights="v")
    run = make_run(tmp_path, "mine", "optimized", day=5)
    assert reuse_baseline(run, tmp_path) == "baseline from run new"
    cells = {record["cell"]["server"]: record for record in run.read_cells()}
    assert cells["baseline"]["figures"]["throughput_rps"] == 2.0
    assert cells["baseline"]["from_run"] == "new"
    assert run.read_run()["baseline_note"] == "baseline from run new"


@pytest.mark.parametrize(
    ("other", "said"), [({}, "none has been measured"), ({"cpu": "b"}, "another machine")]
)
def test_where_none_is_comparable_it_says_so(tmp_path: Path, other: dict[str, str], said: str) -> None:
    if other:
        make_run(tmp_path, "elsewhere", "baseline", **other)  # type: ignore[arg-type]
    run = make_run(tmp_path, "mine", "optimized")
    assert said in str(reuse_baseline(run, tmp_path))
    assert len(run.read_cells()) == 1


def test_a_run_with_a_baseline_of_its_own_reuses_none(tmp_path: Path) -> None:
    make_run(tmp_path, "other", "baseline", day=1)
    run = make_run(tmp_path, "mine", "baseline", day=2)
    assert reuse_baseline(run, tmp_path) is None
    assert "baseline_note" not in run.read_run()
