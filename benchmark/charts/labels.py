"""Names beside lines instead of a legend, placed so that no two of them touch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.transforms import Bbox
from scipy.optimize import isotonic_regression

from benchmark.charts.axes import write
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import DENSITY, LABEL, MARGIN, UNCLIPPED, points

GAP = 20  # from an axes' right edge to its labels


@dataclass(frozen=True)
class Label:
    """A text for the data point `x`, `y`, in one colour."""

    x: float
    y: float
    text: str
    ink: str
    size: float = LABEL


def spread(wanted: Sequence[float] | np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """The places nearest to `wanted` (least squares) that lie `gap` apart within `low` to `high`.

    Where the room is too small for all gaps, they shrink alike.
    """
    steps = np.arange(len(wanted)) * min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    # Less the gaps below it, each place must only not be under the one before.
    levels = isotonic_regression(np.asarray(wanted, dtype=float)[order] - steps).x
    places = np.empty(len(wanted))
    places[order] = np.clip(levels, low, high - steps[-1]) + steps
    return places


def end_labels(sheet: Sheet, ax: Axes, labels: Sequence[Label]) -> None:
    """Writes `labels` right of `ax`, each at the height of its point, nudged apart; lays out the sheet.

    A thin line leads from the point to a label that is not beside it.
    """
    at_end: dict[str, Any] = {"xycoords": "axes fraction", "va": "center_baseline"}
    texts = [write(ax, one.text, (1, 0), (GAP, 0), ink=one.ink, **at_end) for one in labels]
    sheet.lay_out()
    if not labels:
        return
    room, gap = ax.bbox.height / DENSITY, GAP * DENSITY / ax.bbox.width
    pixels = min(LABEL, room / len(labels) / 1.24)
    ends = ax.transAxes.inverted().transform(ax.transData.transform([(one.x, one.y) for one in labels]))
    heights = spread(ends[:, 1], pixels * 1.24 / room, 0, 1)
    for label, text, (x, y), height in zip(labels, texts, ends, heights, strict=True):
        text.xy = (1, height)
        text.set_fontsize(points(pixels))
        if 1 - x > 2 * gap or abs(y - height) * room > 0.62 * pixels:
            leader: dict[str, Any] = {
                "color": label.ink,
                "linewidth": 1,
                "alpha": 0.6,
                "transform": ax.transAxes,
            }
            ax.plot([x + gap / 2, 1 + 0.8 * gap], [y, height], **leader, **UNCLIPPED)


# From a label's point to its middle, in units of half its size.
_STEPS = [(x / 2, y / 2) for x in range(-6, 7) for y in range(-6, 7) if max(abs(x), abs(y)) >= 2]


def near_labels(sheet: Sheet, ax: Axes, labels: Sequence[Label]) -> None:
    """Writes each of `labels` near its point, off other labels and what is drawn; lays out the sheet."""
    sheet.lay_out()
    room = Bbox.from_extents(ax.bbox.x0, ax.bbox.y0, sheet.figure.bbox.x1 - MARGIN, ax.bbox.y1)
    paths = [(Path(ax.transData.transform(line.get_xydata())), line.get_linestyle()) for line in ax.lines]
    lines = [(path if dashes == "None" else path.interpolated(20)).vertices for path, dashes in paths]
    taken = np.concatenate([np.zeros((1, 2)), *lines])
    boxes: list[Bbox] = []
    for one in labels:
        text = write(ax, one.text, (one.x, one.y), (0, 0), one.size, one.ink, ha="center", va="center")
        box = text.get_window_extent()
        shifts = np.array(_STEPS) * (box.width / 2 + 24, box.height / 2 + 14)
        costs = []
        for shift in shifts:
            moved = box.translated(*shift)
            outside = not (room.contains(*moved.min) and room.contains(*moved.max))
            covered = 30 * moved.padded(6).count_contains(taken) + 1000 * moved.count_overlaps(boxes)
            costs.append(covered + 1000 * outside + math.hypot(*shift))
        x, y = shifts[int(np.argmin(costs))]
        text.set_position((points(x / DENSITY), points(y / DENSITY)))
        boxes.append(box.translated(x, y))
