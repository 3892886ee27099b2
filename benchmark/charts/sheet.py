"""A chart's sheet: its texts, the room that they leave to the axes, and the files it is saved as."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark.charts import style
from benchmark.charts.style import DENSITY, MARGIN, PIXELS_PER_INCH, points, width_of

REACH = 9.0  # points around a mark: a fingertip on a phone covers more, a mouse less
# A figure and its unit stay on one line.
_UNIT = re.compile(r"(?<=\d) (?=(?:ms|s|MB|M|%|repeats?)\b)|(?<=commit) ")
# What is measured at a mark, around a place or over the box between two, in data of the axes.
Place = tuple[float, float]
Value = tuple[Axes, Place, Place | None, str]


class Sheet:
    """One chart: title, subtitle and caption wrapped to the width; the axes get what is left.

    In a format without texts they are only kept, for a page to write them around the picture.
    """

    def __init__(self, title: str, subtitle: str, caption: Sequence[str]) -> None:
        self.title, self.subtitle, self.caption = title, subtitle, list(caption)
        self.values: list[Value] = []
        self.format = style.FORMAT.get()
        self.width, self.height = self.format.width, self.format.height
        inches = self.width / PIXELS_PER_INCH, self.height / PIXELS_PER_INCH
        self.figure = Figure(inches, PIXELS_PER_INCH * DENSITY, facecolor=style.PAPER, layout="constrained")
        FigureCanvasAgg(self.figure)
        self.fitted: list[tuple[Axes, Text]] = []
        self.laid_out = False
        top, bottom = self.height - 8.0, 8.0
        if self.format.texts:
            top = self._write([title], self.height - MARGIN + 8, style.TITLE, style.INK, "bold").y0
            top = self._write([subtitle], top - 8, style.SUBTITLE, style.MUTED).y0 - 14
            bottom = self._write(caption, MARGIN - 12, style.CAPTION, style.MUTED, va="bottom").y1 + 14
        width = self.width - 2 * MARGIN
        room = MARGIN / self.width, bottom / self.height, width / self.width, (top - bottom) / self.height
        engine: Any = self.figure.get_layout_engine()
        engine.set(rect=room, w_pad=0, h_pad=0)

    def _write(
        self, texts: Sequence[str], y: float, pixels: float, ink: str, weight: str = "normal", va: str = "top"
    ) -> Bbox:
        """Writes `texts`, each from a new line, down from `y` or up from it; returns their box."""
        lines = [line for text in texts for line in wrapped(text, pixels, self.width - 2 * MARGIN, weight)]
        text = self.figure.text(MARGIN / self.width, y / self.height, "\n".join(lines), va=va)
        text.set(fontsize=points(pixels), color=ink, weight=weight, linespacing=1.1)
        return Bbox(text.get_window_extent().get_points() / DENSITY)

    def fit(self, ax: Axes, text: Text) -> None:
        """Has `text` shrink to the width of `ax`, once that is known."""
        self.fitted.append((ax, text))

    def lay_out(self) -> None:
        """Gives the axes their final places, so that labels can be put beside what is drawn in them."""
        if self.laid_out:
            return
        self.laid_out = True
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")
        for ax in self.figure.axes:
            # The layout's solver differs in the last digits from process to process.
            ax.set_position(Bbox(ax.get_position().get_points().round(6)))
        for ax, text in self.fitted:
            shrink = ax.bbox.width / text.get_window_extent().width
            text.set_fontsize(float(text.get_fontsize()) * min(shrink, 1))

    def add_value(self, ax: Axes, place: Place, text: str, to: Place | None = None) -> None:
        """What a reader sees on hover at `place` in data of `ax`, or over the box from `place` to `to`."""
        if all(map(math.isfinite, [*place, *(to or ())])):
            self.values.append((ax, place, to, text))

    def svg(self, salt: str) -> str:
        """The sheet as SVG, with its values to hover over; the same sheet and `salt` give the same text."""
        self.lay_out()
        written = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": salt}):
            self.figure.savefig(written, format="svg", metadata={"Title": self.title, "Date": None})
        return with_values(written.getvalue(), self.values)

    def save(self, stem: Path) -> list[Path]:
        """Writes `stem`.png and `stem`.svg; the same sheet gives the same bytes."""
        self.lay_out()
        stem.parent.mkdir(parents=True, exist_ok=True)
        png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
        self.figure.savefig(png, metadata={"Title": self.title})
        svg.write_text(self.svg(stem.name), encoding="utf-8")
        return [png, svg]


def wrapped(text: str, pixels: float, room: float, weight: str) -> list[str]:
    """The fewest lines of whole words that hold `text` in `room`, of about one width."""
    text = _UNIT.sub("\u00a0", text)
    options = [textwrap.wrap(text, length, break_long_words=False) for length in range(20, 140, 2)]
    widths = [max((width_of(line, pixels, weight) for line in lines), default=0) for lines in options]
    fitting = [
        (len(lines), width, lines) for lines, width in zip(options, widths, strict=True) if width <= room
    ]
    return min(fitting)[2] if fitting else options[0]


def with_values(svg: str, values: Sequence[Value]) -> str:
    """`svg` with a shape of class "value" for each of `values`, in their order, the last one on top."""
    view = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if view is None or not values:
        return svg
    width, height = float(view[1]), float(view[2])
    shapes = []
    for ax, low, high, text in values:
        # From data to the SVG's coordinates, whose origin is the upper left corner.
        corners = (ax.transData - ax.figure.transFigure).transform([low, high or low])
        (x0, y0), (x1, y1) = ((x * width, (1 - y) * height) for x, y in corners)
        if high is None:
            shape, place = "circle", f'cx="{x0:.1f}" cy="{y0:.1f}" r="{REACH:g}"'
        else:
            shape, place = "rect", f'x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}"'
            place += f' width="{abs(x1 - x0):.1f}" height="{abs(y1 - y0):.1f}"'
        shapes.append(f'<{shape} {place} class="value"><title>{escape(text)}</title></{shape}>')
    return svg.replace("</svg>", f'<g fill="#fff" fill-opacity="0" stroke="none">{"".join(shapes)}</g></svg>')
