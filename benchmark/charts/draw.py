"""Draws a run's charts from its files, as PNG and SVG; a new chart is one module here and a line below."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.charts import ladder, load_curves, peers, style
from benchmark.charts.batch_timeline import batch_timeline
from benchmark.charts.capacity import capacity
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.distribution import distribution
from benchmark.charts.footprint import footprint
from benchmark.charts.headline import headline, level_of, rates
from benchmark.charts.overload import overload
from benchmark.charts.queue_share import queue_share, time_shares
from benchmark.charts.sheet import Sheet
from benchmark.charts.timeline import cell_to_show, timeline
from benchmark.experiments.batch_timeline import FOLDER as TIMELINES
from benchmark.experiments.capacity import FOLDER as CAPACITY
from benchmark.experiments.ladder import KIND
from benchmark.experiments.open_loop import FOLDER as OPEN_LOOP
from benchmark.runs.records import TASKS, RunFiles, read_json


def drawings(data: RunData) -> list[Drawing]:
    """Every chart that the run's files allow, the headline first."""
    if data.frame.empty:
        return []
    if data.run.get("kind") == KIND:
        return list(ladder.drawings(data))
    if data.run.get("kind") == peers.KIND:
        return list(peers.drawings(data))
    charts = [drawing for part in data.slices for drawing in slice_drawings(data, part)]
    charts.append(Drawing("footprint", None, partial(footprint, data)))
    level = level_of(data)
    if level is not None and any(len(at) > 1 for at in rates(data, level).values()):
        charts.insert(0, Drawing("headline", None, partial(headline, data, level)))
    return charts


def slice_drawings(data: RunData, part: Slice) -> Iterator[Drawing]:
    """The charts of one slice; those of queue and batches only where a server reports them."""

    def drawing(name: str, chart: Callable[..., Sheet], *more: Any) -> Drawing:
        return Drawing(name, part, partial(chart, data, part, *more))

    cells, name = data.of(part), part.name
    yield drawing(f"throughput-{name}", load_curves.throughput)
    yield drawing(f"latency-{name}", load_curves.latency)
    yield drawing(f"p95-by-rps-{name}", load_curves.tradeoff)
    for level in cells.levels:
        if cells.where(users=level).has_requests():
            yield drawing(f"distribution-{name}-u{level}", distribution, level)
    shares = time_shares(cells)
    if len(shares):
        yield drawing(f"queue-{name}", queue_share, shares)
    if cells.medians("batch_size_mean"):
        yield drawing(f"batch-size-{name}", load_curves.batch_size)
    for server in cells.servers:
        row = cell_to_show(cells.where(server=server))
        if row is not None and cells.where(server=server).has_requests():
            yield drawing(f"timeline-{name}-{server}", timeline, row)


def experiment_drawings(run: Path) -> Iterator[Drawing]:
    """The charts of what the folder `run` holds besides cells: capacities, overload, batch timelines."""
    capacities = [record for record in records(run / CAPACITY) if record["capacity"]]
    overloads = [one for one in records(run / OPEN_LOOP) if one.get("capacity_rps") and one["rates"]]
    for task in TASKS:
        if of_task := [record for record in capacities if record["task"] == task]:
            yield Drawing(f"capacity-{task}", None, partial(capacity, of_task))
        if of_task := [record for record in overloads if record["offer"]["task"] == task]:
            yield Drawing(f"overload-{task}", None, partial(overload, of_task))
    if traced := records(run / TIMELINES):
        yield Drawing("batch-timeline", None, partial(batch_timeline, run / TIMELINES, traced))


def records(folder: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted(folder.glob("*.json"))]


def charts_folder(run: RunFiles) -> Path:
    return run.folder / "charts"


def draw_all(run: RunFiles) -> list[Path]:
    """Draws every chart into <run>/charts/ and returns the files; charts of an earlier draw are replaced."""
    for pattern in ("*.png", "*.svg"):
        for stale in charts_folder(run).glob(pattern):
            stale.unlink()
    drawn = [path for drawing in drawings(RunData(run)) for path in draw_one(drawing, run)]
    return drawn + draw_experiments(run)


def draw_experiments(run: RunFiles) -> list[Path]:
    """Draws what the run's folder holds besides cells into <run>/charts/ and returns the files."""
    return [path for drawing in experiment_drawings(run.folder) for path in draw_one(drawing, run)]


def draw_one(drawing: Drawing, run: RunFiles) -> list[Path]:
    """Draws one chart into <run>/charts/ and returns its files."""
    with style.applied():
        return drawing.draw().save(charts_folder(run) / drawing.name)
