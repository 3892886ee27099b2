"""How every chart looks: colours, fonts, the sheet with its texts, and the axes.

Lengths are logical pixels of a 1200 x 675 sheet (origin bottom left); PNGs have twice as many.
"""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmark.charts.titles import NAMES, figure

WIDTH, HEIGHT = 1200, 675
PIXELS_PER_INCH = 100
DENSITY = 2
MARGIN = 26

COLOURS = {"baseline": "#8a8a8a", "optimized": "#0072B2", "dynamic_batching": "#D55E00"}
PEER = "#000000"
INK, MUTED, GRID, SHADE = "#1f1f1f", "#595959", "#dedede", "#eef1f4"
# Thin strokes of a letter look paler than a line of the same colour.
_TEXT_COLOURS = {"baseline": "#666666", "optimized": "#005f96", "dynamic_batching": "#b34e00"}

TITLE, SUBTITLE, LABEL, TICK, CAPTION = 35, 22, 27, 24, 16.5
LINE_SPACING = 1.25
LEFT_AXIS = 106
BOTTOM_AXIS = 70

_FONTS = ("Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans")


def points(pixels: float) -> float:
    """Logical pixels as the typographic points that matplotlib wants."""
    return pixels * 72 / PIXELS_PER_INCH


def colour(server: str) -> str:
    return COLOURS.get(server, PEER)


def text_colour(server: str) -> str:
    return _TEXT_COLOURS.get(server, PEER)


def dashes(server: str, *, tail: bool = False) -> str:
    """The line style of a server's median, or of its tail (p95); a peer is dashed, so its tail is dotted."""
    if server in NAMES:
        return "--" if tail else "-"
    return ":" if tail else "--"


@contextmanager
def applied() -> Iterator[None]:
    """The settings under which a sheet is drawn and saved; the process's own are left alone."""
    installed = {font.name for font in fontManager.ttflist}
    settings: dict[Any, Any] = {
        "font.family": [name for name in _FONTS if name in installed],
        "font.size": points(TICK),
        "text.parse_math": False,  # a dollar sign in a machine's name is no formula
        "axes.unicode_minus": False,
        "svg.fonttype": "path",  # the reader's fonts have other widths: text would collide
        "path.simplify": False,
    }
    with matplotlib.rc_context(settings):
        yield


# A figure and its unit stay on one line.
_SPACES = re.compile(r" (?!(?:ms|s|MB|%)(?:[ ,:]|$))")


@lru_cache(maxsize=4096)
def width_of(text: str, pixels: float, *, bold: bool = False) -> float:
    """Width of `text` in logical pixels."""
    font = FontProperties(
        family=matplotlib.rcParams["font.family"],
        size=points(pixels),
        weight="bold" if bold else "normal",
    )
    renderer = RendererAgg(1, 1, PIXELS_PER_INCH * DENSITY)
    width, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(width) / DENSITY


class Sheet:
    """One chart: title, subtitle and caption wrapped to the width; the axes get what is left."""

    def __init__(self, title: str, subtitle: str, caption: Sequence[str]) -> None:
        self.title = title
        size = (WIDTH / PIXELS_PER_INCH, HEIGHT / PIXELS_PER_INCH)
        self.figure = Figure(figsize=size, dpi=PIXELS_PER_INCH * DENSITY, facecolor="white")
        FigureCanvasAgg(self.figure)
        top = HEIGHT - MARGIN + 4.0
        top -= self._block(self.balanced(title), top, TITLE, INK, bold=True)
        top -= 5 + self._block(self.wrap(subtitle, SUBTITLE, limit=2), top - 5, SUBTITLE, MUTED)
        lines = [line for text in caption for line in self.wrap(text, CAPTION, limit=3)]
        bottom = MARGIN - 10 + len(lines) * CAPTION * LINE_SPACING
        self._block(lines, bottom, CAPTION, MUTED)
        self.top, self.bottom = top, bottom + 8

    def balanced(self, title: str) -> list[str]:
        """The lines of a title, as even as its words allow: no line of one word below a full one."""
        lines = self.wrap(title, TITLE, bold=True, limit=2)
        for room in range(WIDTH - 2 * MARGIN, WIDTH // 3, -20):
            narrower = self.wrap(title, TITLE, bold=True, limit=3, room=room)
            if len(narrower) > len(lines) or "…" in "".join(narrower):
                break
            lines = narrower
        return lines

    def wrap(
        self, text: str, pixels: float, *, bold: bool = False, limit: int, room: float = WIDTH - 2 * MARGIN
    ) -> list[str]:
        """`text` in at most `limit` lines `room` wide; what does not fit ends in an ellipsis."""
        lines: list[str] = []
        for word in _SPACES.split(text):
            longer = f"{lines[-1]} {word}" if lines else word
            if lines and width_of(longer, pixels, bold=bold) <= room:
                lines[-1] = longer
            else:
                lines.append(word)
        if len(lines) > limit:
            lines = lines[:limit]
            lines[-1] += "…"
        for index, line in enumerate(lines):
            while width_of(line, pixels, bold=bold) > room:
                line = line[:-2] + "…"
            lines[index] = line
        return lines

    def _block(
        self, lines: Sequence[str], top: float, pixels: float, ink: str, *, bold: bool = False
    ) -> float:
        """Writes `lines` downwards from `top`; returns their height."""
        for index, line in enumerate(lines):
            self.figure.text(
                MARGIN / WIDTH,
                (top - index * pixels * LINE_SPACING) / HEIGHT,
                line,
                fontsize=points(pixels),
                color=ink,
                weight="bold" if bold else "normal",
                va="top",
            )
        return len(lines) * pixels * LINE_SPACING

    def axes(
        self,
        *,
        left: float = MARGIN + LEFT_AXIS,
        right: float = WIDTH - MARGIN,
        bottom: float = 0,
        top: float = 1,
        unit: str = "",
    ) -> Axes:
        """Axes between `left` and `right`, over the share `bottom` to `top` of the free height.

        `unit` stands above the y axis, so no sideways label takes room from the data.
        """
        low = self.bottom + BOTTOM_AXIS
        high = self.top - (TICK + 22)
        ax = self.figure.add_axes(
            (
                left / WIDTH,
                (low + bottom * (high - low)) / HEIGHT,
                (right - left) / WIDTH,
                (top - bottom) * (high - low) / HEIGHT,
            )
        )
        for side in ("left", "right", "top"):
            ax.spines[side].set_visible(False)
        ax.spines["bottom"].set_color(MUTED)
        ax.grid(axis="y", color=GRID, linewidth=1)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=points(TICK), colors=MUTED, length=0, pad=6)
        ax.tick_params(axis="x", pad=10)  # the first figures of both axes share a corner
        if unit:
            ax.annotate(
                unit,
                (MARGIN / WIDTH, 1),
                (0, points(14)),
                xycoords=("figure fraction", "axes fraction"),
                textcoords="offset points",
                fontsize=points(SUBTITLE),
                color=MUTED,
                va="bottom",
            )
        return ax

    def save(self, stem: Path) -> list[Path]:
        """Writes `stem`.png and `stem`.svg; the same figure gives the same bytes."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
        self.figure.savefig(png, metadata={"Title": self.title})
        with matplotlib.rc_context({"svg.hashsalt": stem.name}):
            self.figure.savefig(svg, metadata={"Title": self.title, "Date": None})
        return [png, svg]


def x_label(ax: Axes, text: str) -> None:
    ax.set_xlabel(text, fontsize=points(SUBTITLE), color=MUTED, labelpad=2)


def log_ms_axis(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis in ms that holds `values`, with ticks at 1, 2 and 5."""
    ticks = ticks_1_2_5(values)
    ax.set_yscale("log")
    ax.set_ylim(ticks[0], ticks[-1])
    # More than nine tick texts would touch: the powers of ten alone still name the scale.
    written = ticks if len(ticks) <= 9 else [t for t in ticks if f"{t:e}".startswith("1")]
    ax.yaxis.set_major_locator(FixedLocator(written))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def ticks_1_2_5(values: Sequence[float]) -> list[float]:
    """1, 2, 5 x 10^k from the last at or below `values` to the first at or above, at least three."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [100, 1000]
    low, high = min(positive), max(positive)
    exponents = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
    first = max(index for index, step in enumerate(steps) if step <= low * 1.001)
    last = min(index for index, step in enumerate(steps) if step >= high * 0.999)
    while last - first < 2:
        # The data stand in the middle: the end that they are nearest to moves away.
        if steps[last] / high < low / steps[first]:
            last += 1
        else:
            first -= 1
    return steps[first : last + 1]


def rps_axis(ax: Axes, values: Sequence[float], *, horizontal: bool = False) -> None:
    """A linear axis of requests a second that starts at 0 and holds `values`."""
    highest = max([value for value in values if math.isfinite(value)], default=0) or 1
    axis = ax.xaxis if horizontal else ax.yaxis
    (ax.set_xlim if horizontal else ax.set_ylim)(0, highest * 1.08)
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def users_axis(ax: Axes, levels: Sequence[int]) -> None:
    """A log2 x axis of concurrent users whose only ticks are the measured `levels`."""
    ax.set_xscale("log", base=2)
    low, high = (min(levels), max(levels)) if levels else (1, 2)
    pad = (high / low) ** 0.04 if high > low else 2
    ax.set_xlim(low / pad, high * pad)
    ax.xaxis.set_major_locator(FixedLocator(list(levels)))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{level:,}" for level in levels]))
    ax.xaxis.set_minor_locator(NullLocator())
    x_label(ax, "concurrent users")
