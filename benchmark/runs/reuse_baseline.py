"""Completes a run of other servers with the baseline's cells of an earlier run."""

import shutil
from pathlib import Path
from typing import Any

from benchmark.runs.records import RunFiles, read_json, write_json


def reuse_baseline(run: RunFiles, results: Path) -> str | None:
    """Copies the baseline's cells of the latest comparable run into `run`; returns a line that says so.

    Comparable is a run on the same machine and cores with the same PyTorch weights. The line is kept in
    run.json, for the captions. None where `run` has a baseline of its own.
    """
    record = run.read_run()
    if "baseline" in record["plan"]["servers"]:
        return None
    others = [RunFiles(path.parent) for path in results.glob("*/run.json") if path.parent != run.folder]
    others = [other for other in others if "baseline" in other.read_run()["plan"]["servers"]]
    comparable = [other for other in others if basis(other.read_run()) == basis(record)]
    if comparable:
        source = max(comparable, key=lambda other: other.read_run()["started_at"])
        copy_baseline(source, run)
        note = f"baseline from run {source.folder.name}"
    elif others:
        note = "no baseline: the runs that have one are of another machine or other models"
    else:
        note = "no baseline: none has been measured yet (make bench-baseline)"
    run.write_run({**record, "baseline_note": note})
    return note


def copy_baseline(source: RunFiles, run: RunFiles) -> None:
    run.cells_folder.mkdir(parents=True, exist_ok=True)
    for path in source.cells_folder.glob("baseline-*"):
        if path.suffix == ".json":
            write_json(run.cells_folder / path.name, {**read_json(path), "from_run": source.folder.name})
        else:
            shutil.copy(path, run.cells_folder)


def basis(record: dict[str, Any]) -> tuple[Any, ...]:
    """What two runs must share for their figures to be compared."""
    machine, artefacts = record["environment"]["machine"], record["models"]["artefacts"]
    weights = {
        name: artefact["files"]["model.safetensors"]["sha256"]
        for name, artefact in artefacts.items()
        if name.endswith("/pytorch")
    }
    return machine["cpu"], machine["logical_cores"], record["environment"]["cores"], weights
