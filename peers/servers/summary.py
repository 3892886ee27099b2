"""The comparison as one record: a row a server and task, with our requests a second over its own by rounds.

results/<run>/servers.json
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.experiments.capacity import FOLDER as CAPACITY_FOLDER
from benchmark.runs.records import Cell, RunFiles, read_json, write_json
from benchmark.stats.repeats import COMPARED, Repeats, compare, repeats_of
from peers.servers.systems import OURS

FILE = "servers.json"
RPS, _, P95 = COMPARED
OUR_TITLE = "ours, dynamic_batching"


def write_summary(files: RunFiles, records: dict[str, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Writes <run>/servers.json from the run's cells, its capacities and the `records` of its peers."""
    run, cells, repeats = files.read_run(), files.read_cells(), repeats_of(files)
    tasks = {}
    for task in run["plan"]["tasks"]:
        model = run["models"]["artefacts"][f"{task}/onnx"]
        own = {name: record for name, record in records.items() if record["task"] == task}
        rows = []
        for name, record in {OURS: {}, **own}.items():
            of_server = [one for one in cells if (one["cell"]["server"], one["cell"]["task"]) == (name, task)]
            levels = dict(levels_of(repeats, name, task, run["plan"]["users"]))
            rows.append(row(name, record, of_server, levels) | {"capacity_rps": capacity(files, name, task)})
        tasks[task] = {"model": {key: model[key] for key in model if key != "files"}, "servers": rows}
    summary = {"environment": run["environment"], "plan": run["plan"], "tasks": tasks}
    write_json(files.folder / FILE, summary)
    return files.folder / FILE, summary


def row(
    name: str, record: dict[str, Any], cells: list[dict[str, Any]], levels: dict[str, Any]
) -> dict[str, Any]:
    """One server: its settings, its figures at each number of users, and what does not depend on a load."""
    started = [one["figures"] for one in cells if one["status"] != "failed"]
    reasons = [reason for one in cells if one["status"] != "ok" for reason in one["invalid_reasons"]]
    return {
        "name": name,
        "title": record.get("title", OUR_TITLE),
        "error": record.get("error") or (reasons[0] if reasons and not levels else None),
        "versions": record.get("versions", {}),
        "settings": record.get("settings", {}),
        "settings_tried": len(record.get("searched", [])),
        "same_answers": record.get("same_answers"),
        "lines_of_code": record.get("lines_of_code"),
        "levels": levels,
        "cells": len(cells),
        "invalid_cells": sum(one["status"] != "ok" for one in cells),
        "cold_start_s": median_of(started, "cold_start_s"),
        "memory_bytes": median_of(started, "rss_peak_bytes"),
    }


def capacity(files: RunFiles, name: str, task: str) -> float | None:
    """The highest rate in requests a second that held the limit; None where it was not measured."""
    path = files.folder / CAPACITY_FOLDER / f"{name}-{task}.json"
    found = read_json(path)["capacity"] if path.is_file() else None
    return found["held_rps"] if found else None


def levels_of(
    repeats: dict[Cell, Repeats], name: str, task: str, users: list[int]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures at each number of users that has a valid cell."""
    for level in users:
        valid = repeats.get(Cell(name, task, "unique", 1, level, 0))
        ours = repeats.get(Cell(OURS, task, "unique", 1, level, 0))
        if valid:
            yield str(level), figures(valid, ours if name != OURS else None)


def figures(valid: Repeats, ours: Repeats | None) -> dict[str, Any]:
    """Medians over the valid repeats, and our requests a second over these, by rounds."""
    compared = compare(valid, ours, RPS) if ours else None
    interval = compared.ratio.interval if compared else None
    return {
        "repeats": len(valid.records),
        "throughput_rps": median(valid.values(RPS).values()),
        "p95_ms": median(values) if (values := [*valid.values(P95).values()]) else None,
        "ratio": compared.ratio.value if compared else None,
        "ratio_low": interval.low if interval else None,
        "ratio_high": interval.high if interval else None,
    }


def median_of(figures: list[dict[str, Any]], name: str) -> float | None:
    values = [one[name] for one in figures if one.get(name) is not None]
    return median(values) if values else None
