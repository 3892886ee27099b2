"""Figures that a reader sees on hover: invisible shapes over the marks of an SVG, each with its text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.axes import Axes

REACH = 9.0  # points around a mark: a fingertip on a phone covers more, a mouse less


@dataclass(frozen=True)
class Value:
    """What is measured at a mark: around `low`, or over the box from `low` to `high`, in data of `ax`."""

    ax: Axes
    low: tuple[float, float]
    high: tuple[float, float] | None
    text: str


def with_values(svg: str, values: Sequence[Value]) -> str:
    """`svg` with a shape of class "value" for each of `values`, in their order, the last one on top."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if found is None or not values:
        return svg
    size = float(found[1]), float(found[2])
    shapes = "".join(_shape(value, size) for value in values)
    return svg.replace("</svg>", f'<g fill="#fff" fill-opacity="0" stroke="none">{shapes}</g></svg>')


def _shape(value: Value, size: tuple[float, float]) -> str:
    told = f'class="value"><title>{escape(value.text)}</title></'
    x0, y0 = _place(value.ax, value.low, size)
    if value.high is None:
        return f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="{REACH:g}" {told}circle>'
    x1, y1 = _place(value.ax, value.high, size)
    (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
    place = f'x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
    return f"<rect {place} {told}rect>"


def _place(ax: Axes, place: tuple[float, float], size: tuple[float, float]) -> tuple[float, float]:
    """From data of `ax` to the SVG's coordinates, whose origin is the upper left corner."""
    across, up = ax.figure.transFigure.inverted().transform(ax.transData.transform(place))
    return float(across) * size[0], (1 - float(up)) * size[1]
