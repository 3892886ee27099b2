"""A chart's sheet: its texts, the room that they leave to the axes, and the files it is saved as."""

import io
import math
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmark.charts.style import (
    BOTTOM_AXIS,
    CAPTION,
    DENSITY,
    GRID,
    INK,
    LEFT_AXIS,
    LINE_SPACING,
    MARGIN,
    MUTED,
    PAPER,
    PIXELS_PER_INCH,
    SUBTITLE,
    TICK,
    TITLE,
    format_in_use,
    points,
    width_of,
)
from benchmark.charts.values import Value, with_values

# A figure and its unit stay on one line.
_SPACES = re.compile(r"(?<!commit) (?!(?:ms|s|MB|%|repeats?)(?:[ ,:]|$))")


class Sheet:
    """One chart: title, subtitle and caption wrapped to the width; the axes get what is left.

    In a format without texts they are only kept, for a page to write them around the picture.
    """

    def __init__(self, title: str, subtitle: str, caption: Sequence[str]) -> None:
        self.title, self.subtitle, self.caption = title, subtitle, list(caption)
        self.values: list[Value] = []
        self.format = format_in_use()
        self.width, self.height = self.format.width, self.format.height
        size = (self.width / PIXELS_PER_INCH, self.height / PIXELS_PER_INCH)
        self.figure = Figure(figsize=size, dpi=PIXELS_PER_INCH * DENSITY, facecolor=PAPER)
        FigureCanvasAgg(self.figure)
        self.top, self.bottom = self.height - 4.0, 6.0
        if self.format.texts:
            self._write_texts()

    def _write_texts(self) -> None:
        top = self.height - MARGIN + 4.0
        top -= self._block(self.balanced(self.title), top, TITLE, INK, bold=True)
        top -= 5 + self._block(self.wrap(self.subtitle, SUBTITLE, limit=2), top - 5, SUBTITLE, MUTED)
        lines = [line for text in self.caption for line in self.wrap(text, CAPTION, limit=3)]
        bottom = MARGIN - 10 + len(lines) * CAPTION * LINE_SPACING
        self._block(lines, bottom, CAPTION, MUTED)
        self.top, self.bottom = top, bottom + 8

    def balanced(self, title: str) -> list[str]:
        """The lines of a title, as even as its words allow: no line of one word below a full one."""
        lines = self.wrap(title, TITLE, bold=True, limit=2)
        for room in range(self.width - 2 * MARGIN, self.width // 3, -20):
            narrower = self.wrap(title, TITLE, bold=True, limit=3, room=room)
            if len(narrower) > len(lines) or "…" in "".join(narrower):
                break
            lines = narrower
        return lines

    def wrap(
        self, text: str, pixels: float, *, bold: bool = False, limit: int, room: float | None = None
    ) -> list[str]:
        """`text` in at most `limit` lines `room` wide (else: the sheet), cut with an ellipsis."""
        room = self.width - 2 * MARGIN if room is None else room
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
                MARGIN / self.width,
                (top - index * pixels * LINE_SPACING) / self.height,
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
        right: float | None = None,
        bottom: float = 0,
        top: float = 1,
        unit: str = "",
    ) -> Axes:
        """Axes between `left` and `right` (else the edge), over a share `bottom` to `top` of the free height.

        `unit` stands above the y axis, so no sideways label takes room from the data.
        """
        right = self.width - MARGIN if right is None else right
        low = self.bottom + BOTTOM_AXIS
        high = self.top - (TICK + 22)
        ax = self.figure.add_axes(
            (
                left / self.width,
                (low + bottom * (high - low)) / self.height,
                (right - left) / self.width,
                (top - bottom) * (high - low) / self.height,
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
                (MARGIN / self.width, 1),
                (0, points(14)),
                xycoords=("figure fraction", "axes fraction"),
                textcoords="offset points",
                fontsize=points(SUBTITLE),
                color=MUTED,
                va="bottom",
            )
        return ax

    def tell(
        self, ax: Axes, place: tuple[float, float], text: str, to: tuple[float, float] | None = None
    ) -> None:
        """What a reader sees on hover at `place` in data of `ax`, or over the box from `place` to `to`."""
        if all(map(math.isfinite, [*place, *(to or ())])):
            self.values.append(Value(ax, place, to, text))

    def svg(self, salt: str) -> str:
        """The sheet as SVG, with its values to hover over; the same sheet and `salt` give the same text."""
        written = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": salt}):
            self.figure.savefig(written, format="svg", metadata={"Title": self.title, "Date": None})
        return with_values(written.getvalue(), self.values)

    def save(self, stem: Path) -> list[Path]:
        """Writes `stem`.png and `stem`.svg; the same sheet gives the same bytes."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        png, svg = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
        self.figure.savefig(png, metadata={"Title": self.title})
        svg.write_text(self.svg(stem.name), encoding="utf-8")
        return [png, svg]
