"""Draws a run's charts from its files, as PNG and SVG; a new chart is one module here and a line below."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from benchmark.charts import by_users, experiment_charts, ladder, style
from benchmark.charts import footprint as of_start
from benchmark.charts import headline as of_run
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.distribution import distribution
from benchmark.charts.queue_share import queue_share, time_shares
from benchmark.charts.timeline import cell_to_show, timeline
from benchmark.charts.tradeoff import tradeoff
from benchmark.experiments.ladder import KIND
from benchmark.runs.records import RunFiles


def drawings(data: RunData) -> list[Drawing]:
    """Every chart that the run's files allow, the headline first."""
    if data.frame.empty:
        return []
    if data.run.get("kind") == KIND:
        return list(ladder.drawings(data))
    return list(run_drawings(data))


def run_drawings(data: RunData) -> Iterator[Drawing]:
    level = of_run.level_of(data)
    if level is not None and any(len(at) > 1 for at in of_run.rates(data, level).values()):
        yield Drawing(of_run.NAME, None, partial(of_run.headline, data, level))
    for part in data.slices:
        yield from slice_drawings(data, part)
    yield Drawing(of_start.NAME, None, partial(of_start.footprint, data))


def slice_drawings(data: RunData, part: Slice) -> Iterator[Drawing]:
    """The charts of one slice; those of queue and batches only where a server reports them."""
    cells = data.of(part)
    yield Drawing(f"throughput-{part.name}", part, partial(by_users.throughput, data, part))
    yield Drawing(f"latency-{part.name}", part, partial(by_users.latency, data, part))
    yield Drawing(f"p95-by-rps-{part.name}", part, partial(tradeoff, data, part))
    for level in cells.levels:
        if cells.where(users=level).has_requests():
            yield Drawing(
                f"distribution-{part.name}-u{level}", part, partial(distribution, data, part, level)
            )
    shares = time_shares(cells)
    if len(shares):
        yield Drawing(f"queue-{part.name}", part, partial(queue_share, data, part, shares))
    if any(cells.medians("batch_size_mean").values()):
        yield Drawing(f"batch-size-{part.name}", part, partial(by_users.batch_size, data, part))
    for server in cells.servers:
        row = cell_to_show(cells.where(server=server))
        if row is not None and cells.where(server=server).has_requests():
            yield Drawing(f"timeline-{part.name}-{server}", part, partial(timeline, data, part, row))


def charts_folder(run: RunFiles) -> Path:
    return run.folder / "charts"


def draw_all(run: RunFiles) -> list[Path]:
    """Draws every chart into <run>/charts/ and returns the files; charts of an earlier draw are replaced."""
    for pattern in ("*.png", "*.svg"):
        for stale in charts_folder(run).glob(pattern):
            stale.unlink()
    return draw_each(drawings(RunData(run)), run) + draw_experiments(run)


def draw_experiments(run: RunFiles) -> list[Path]:
    """Draws what the run's folder holds beside cells into <run>/charts/ and returns the files."""
    return draw_each(experiment_charts.drawings(run.folder), run)


def draw_each(charts: Iterable[Drawing], run: RunFiles) -> list[Path]:
    return [path for drawing in charts for path in draw_one(drawing, run)]


def draw_one(drawing: Drawing, run: RunFiles) -> list[Path]:
    """Draws one chart into <run>/charts/ and returns its files."""
    with style.applied():
        return drawing.draw().save(charts_folder(run) / drawing.name)
