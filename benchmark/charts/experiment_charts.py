"""Draws what a run's files hold beside its cells: capacities, overload, and the batch's life."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.charts import batch_timeline as slots_chart
from benchmark.charts import capacity as capacity_chart
from benchmark.charts import overload as overload_chart
from benchmark.charts.data import Drawing
from benchmark.charts.sheet import Sheet
from benchmark.experiments import batch_timeline as slots_trace
from benchmark.experiments import capacity, open_loop
from benchmark.runs.records import TASKS, read_json

SLOTS = "slots"


def drawings(run: Path) -> Iterator[Drawing]:
    """Each chart that the files of the folder `run` allow."""
    capacities = [record for record in records(run / capacity.FOLDER) if record["capacity"]]
    overloads = [one for one in records(run / open_loop.FOLDER) if one.get("capacity_rps") and one["rates"]]
    for task in TASKS:
        of_task = [record for record in capacities if record["task"] == task]
        if of_task:
            yield Drawing(f"capacity-{task}", None, partial(capacity_chart.draw, of_task))
        offered = [record for record in overloads if record["offer"]["task"] == task]
        if offered:
            yield Drawing(f"overload-{task}", None, partial(overload_chart.draw, offered))
    lives = records(run / slots_trace.FOLDER)
    if lives:
        yield Drawing(SLOTS, None, partial(draw_slots, run / slots_trace.FOLDER, lives))


def draw_slots(folder: Path, lives: list[dict[str, Any]]) -> Sheet:
    traces = [
        slots_trace.read_trace(slots_trace.trace_path(folder, one["batching"]), one["duration_s"])
        for one in lives
    ]
    return slots_chart.draw(lives, traces)


def records(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("*.json"))]
