"""Draws what a run's files hold beside its cells: capacities, overload, and the batch timeline."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.charts.batch_timeline import batch_timeline
from benchmark.charts.capacity import capacity
from benchmark.charts.data import Drawing
from benchmark.charts.overload import overload
from benchmark.charts.sheet import Sheet
from benchmark.experiments import batch_timeline as timelines
from benchmark.experiments.capacity import FOLDER as CAPACITY
from benchmark.experiments.open_loop import FOLDER as OPEN_LOOP
from benchmark.runs.records import TASKS, read_json


def drawings(run: Path) -> Iterator[Drawing]:
    """Each chart that the files of the folder `run` allow."""
    capacities = [record for record in records(run / CAPACITY) if record["capacity"]]
    overloads = [one for one in records(run / OPEN_LOOP) if one.get("capacity_rps") and one["rates"]]
    for task in TASKS:
        if of_task := [record for record in capacities if record["task"] == task]:
            yield Drawing(f"capacity-{task}", None, partial(capacity, of_task))
        if of_task := [record for record in overloads if record["offer"]["task"] == task]:
            yield Drawing(f"overload-{task}", None, partial(overload, of_task))
    if traced := records(run / timelines.FOLDER):
        yield Drawing("batch-timeline", None, partial(draw_timelines, run / timelines.FOLDER, traced))


def draw_timelines(folder: Path, traced: list[dict[str, Any]]) -> Sheet:
    traces = [
        timelines.read_trace(timelines.trace_path(folder, one["batching"]), one["duration_s"])
        for one in traced
    ]
    return batch_timeline(traced, traces)


def records(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("*.json"))]
