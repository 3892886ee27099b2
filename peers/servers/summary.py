"""The comparison as one record: a row a server and task, with our requests a second over its own by rounds.

results/<run>/servers.json
"""

from pathlib import Path
from statistics import median
from typing import Any

from benchmark.runs.records import Cell, RunFiles, read_json, write_json
from benchmark.stats.repeats import COMPARED, Repeats, compare, repeats_of
from peers.servers.plan import PeersPlan
from peers.servers.systems import OURS

FILE = "servers.json"
RPS, _, P95 = COMPARED
OUR_TITLE = "ours, dynamic_batching"


def write_summary(files: RunFiles, records: dict[str, dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """Writes <run>/servers.json from the run's cells, its capacities and the `records` of its peers."""
    run = files.read_run()
    plan = PeersPlan.from_json(run["plan"])
    repeats, cells = repeats_of(files), files.read_cells()
    tasks = {}
    for task in plan.tasks:
        own = [name for name, record in records.items() if record["task"] == task]
        rows = [row(files, plan, name, task, records.get(name, {}), repeats, cells) for name in (OURS, *own)]
        model = next(
            (one["model"] for one in cells if (one["cell"]["server"], one["cell"]["task"]) == (OURS, task)),
            {},
        )
        tasks[task] = {"model": model, "servers": rows}
    summary = {"environment": run["environment"], "plan": run["plan"], "tasks": tasks}
    write_json(files.folder / FILE, summary)
    return files.folder / FILE, summary


def of(cells: list[dict[str, Any]], server: str, task: str) -> list[dict[str, Any]]:
    return [one for one in cells if (one["cell"]["server"], one["cell"]["task"]) == (server, task)]


def row(
    files: RunFiles,
    plan: PeersPlan,
    name: str,
    task: str,
    record: dict[str, Any],
    repeats: dict[Cell, Repeats],
    cells: list[dict[str, Any]],
) -> dict[str, Any]:
    """One server: its settings, its figures at each number of users, and what does not depend on a load."""
    own = of(cells, name, task)
    started = [one["figures"] for one in own if one["status"] != "failed"]
    reasons = [reason for one in own if one["status"] != "ok" for reason in one["invalid_reasons"]]
    levels = {}
    for users in plan.users:
        valid = repeats.get(Cell(name, task, "unique", 1, users, 0))
        ours = repeats.get(Cell(OURS, task, "unique", 1, users, 0))
        if valid:
            levels[str(users)] = level(valid, ours if name != OURS else None)
    capacity_path = files.folder / "capacity" / f"{name}-{task}.json"
    capacity = read_json(capacity_path)["capacity"] if capacity_path.is_file() else None
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
        "invalid_cells": sum(one["status"] != "ok" for one in own),
        "cells": len(own),
        "cold_start_s": median_of(started, "cold_start_s"),
        "memory_bytes": median_of(started, "rss_peak_bytes"),
        "capacity_rps": capacity["held_rps"] if capacity else None,
    }


def level(valid: Repeats, ours: Repeats | None) -> dict[str, Any]:
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
