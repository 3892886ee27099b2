"""Draws a run's charts from its files, as PNG and SVG.

A new chart is one file in `benchmark/charts/` with a `drawings` function, and its line in CHARTS.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmark import style
from benchmark.charts import (
    batching,
    distribution,
    footprint,
    headline,
    ladder,
    latency,
    throughput,
    timeline,
    tradeoff,
)
from benchmark.charts.data import Drawing, RunData
from benchmark.ladder import KIND
from benchmark.records import RunFiles

CHARTS: tuple[Callable[[RunData], Iterator[Drawing]], ...] = (
    headline.drawings,
    throughput.drawings,
    latency.drawings,
    tradeoff.drawings,
    distribution.drawings,
    batching.drawings,
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
    written: list[Path] = []
    for drawing in drawings(RunData(run)):
        written += draw_one(drawing, run)
    return written


def draw_one(drawing: Drawing, run: RunFiles) -> list[Path]:
    """Draws one chart into <run>/charts/ and returns its files."""
    with style.applied():
        return drawing.draw().save(charts_folder(run) / drawing.name)
