"""Draws a run's charts from its files, as PNG and SVG.

A new chart is one file in `benchmark/charts/` with a `drawings` function, and its line in CHARTS.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from benchmark.charts import (
    batch_size,
    distribution,
    footprint,
    headline,
    ladder,
    latency,
    queue_share,
    style,
    throughput,
    timeline,
    tradeoff,
)
from benchmark.charts import experiment_charts as open_loop_charts
from benchmark.charts.data import Drawing, RunData
from benchmark.experiments.ladder import KIND
from benchmark.runs.records import RunFiles

CHARTS: tuple[Callable[[RunData], Iterator[Drawing]], ...] = (
    headline.drawings,
    throughput.drawings,
    latency.drawings,
    tradeoff.drawings,
    distribution.drawings,
    queue_share.drawings,
    batch_size.drawings,
    timeline.drawings,
    footprint.drawings,
)


def drawings(data: RunData) -> list[Drawing]:
    """Every chart that the run's files allow, headline slices first."""
    if data.frame.empty:
        return []
    if data.run.get("kind") == KIND:
        return list(ladder.drawings(data))
    return [drawing for chart in CHARTS for drawing in chart(data)]


def charts_folder(run: RunFiles) -> Path:
    return run.folder / "charts"


def draw_all(run: RunFiles) -> list[Path]:
    """Draws every chart into <run>/charts/ and returns the files; charts of an earlier draw are replaced."""
    folder = charts_folder(run)
    for pattern in ("*.png", "*.svg"):
        for stale in folder.glob(pattern):
            stale.unlink()
    return draw_each(drawings(RunData(run)), run) + draw_beside_cells(run)


def draw_beside_cells(run: RunFiles) -> list[Path]:
    """Draws what the run's folder holds beside cells into <run>/charts/ and returns the files."""
    return draw_each(open_loop_charts.drawings(run.folder), run)


def draw_each(found: Iterable[Drawing], run: RunFiles) -> list[Path]:
    return [path for drawing in found for path in draw_one(drawing, run)]


def draw_one(drawing: Drawing, run: RunFiles) -> list[Path]:
    """Draws one chart into <run>/charts/ and returns its files."""
    with style.applied():
        return drawing.draw().save(charts_folder(run) / drawing.name)
