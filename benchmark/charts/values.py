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
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if view is None or not values:
        return svg
    shapes = "".join(_shape(value, float(view[1]), float(view[2])) for value in values)
    return svg.replace("</svg>", f'<g fill="#fff" fill-opacity="0" stroke="none">{shapes}</g></svg>')


def _shape(value: Value, width: float, height: float) -> str:
    """From data to the SVG's coordinates, whose origin is the upper left corner."""
    ax = value.ax
    corners = (ax.transData - ax.figure.transFigure).transform([value.low, value.high or value.low])
    (x0, y0), (x1, y1) = ((x * width, (1 - y) * height) for x, y in corners)
    title = f'class="value"><title>{escape(value.text)}</title>'
    if value.high is None:
        return f'<circle cx="{x0:.1f}" cy="{y0:.1f}" r="{REACH:g}" {title}</circle>'
    place = f'x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}"'
    return f'<rect {place} width="{abs(x1 - x0):.1f}" height="{abs(y1 - y0):.1f}" {title}</rect>'
