"""How every chart looks: sizes, colours and fonts. Lengths are logical pixels; PNGs have twice as many."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from matplotlib import rc, rc_context, rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.font_manager import FontProperties, fontManager

from benchmark.charts.titles import NAMES


@dataclass(frozen=True)
class Format:
    """A sheet's size, and whether title, subtitle and caption stand on it or are written around it."""

    width: int
    height: int
    texts: bool


PICTURE = Format(1200, 675, texts=True)
# Narrow, so that its texts can still be read where a page shows it on a phone.
INLINE = Format(840, 500, texts=False)
FORMAT = ContextVar("format", default=PICTURE)

PIXELS_PER_INCH, DENSITY, MARGIN = 100, 2, 26

COLOURS = {"baseline": "#8a8a8a", "optimized": "#0072B2", "dynamic_batching": "#D55E00"}
PEER, PAPER, INK, MUTED = "#000000", "#ffffff", "#1f1f1f", "#595959"
GRID, FAINT_GRID, SHADE = "#dedede", "#ececec", "#eef1f4"
# Thin strokes of a letter look paler than a line of the same colour.
_TEXT_COLOURS = {"baseline": "#666666", "optimized": "#005f96", "dynamic_batching": "#b34e00"}

TITLE, SUBTITLE, LABEL, TICK, CAPTION = 36, 25, 29, 26, 20.5
LINE, POINT = 4.5, 10  # points: a median's line and its marks
_FONTS = ("Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans")

# Data may lie on the edge of their axes; the layout is made for texts.
UNCLIPPED: dict[str, Any] = {"clip_on": False, "in_layout": False}
MARK: dict[str, Any] = {**UNCLIPPED, "linestyle": "", "marker": "o", "zorder": 3}
REPEAT = {**MARK, "markersize": 8, "alpha": 0.35, "markeredgewidth": 0}
INVALID = {**MARK, "marker": "x", "markersize": 13, "markeredgewidth": 3.5}
# A percentile under its sample floor.
HOLLOW = {**MARK, "markerfacecolor": PAPER, "markeredgewidth": 3}


def points(pixels: float) -> float:
    """Logical pixels as the typographic points that matplotlib wants."""
    return pixels * 72 / PIXELS_PER_INCH


def colour(server: str) -> str:
    return COLOURS.get(server, PEER)


def text_colour(server: str) -> str:
    return _TEXT_COLOURS.get(server, PEER)


def light_colour(server: str) -> str:
    """The server's colour on paper, as a tint: a transparent one would let the grid through."""
    red, green, blue = (1 - 0.4 * (1 - channel) for channel in to_rgb(colour(server)))
    return to_hex((red, green, blue))


def dashes(server: str, *, tail: bool = False) -> str:
    """The line style of a server's median, or of its tail (p95); a peer is dashed, so its tail is dotted."""
    if server in NAMES:
        return "--" if tail else "-"
    return ":" if tail else "--"


@contextmanager
def applied(format_: Format = PICTURE) -> Iterator[None]:
    """The settings under which a sheet is drawn and saved; the process's own are left alone."""
    installed = {font.name for font in fontManager.ttflist}
    token = FORMAT.set(format_)
    with rc_context():
        rc("font", family=[name for name in _FONTS if name in installed], size=points(TICK))
        rc("text", parse_math=False)  # a dollar sign in a machine's name is no formula
        rc("svg", fonttype="path")  # the reader's fonts have other widths: text would collide
        rc("path", simplify=False)
        rc("axes", axisbelow=True, edgecolor=MUTED, grid=True, unicode_minus=False)
        rc("axes", labelcolor=MUTED, labelpad=points(3), labelsize=points(SUBTITLE))
        rc("axes", titlecolor=MUTED, titlelocation="left", titlepad=points(14), titlesize=points(SUBTITLE))
        rc("axes.spines", left=False, right=False, top=False)
        rc("axes.grid", axis="y")
        rc("grid", color=GRID, linewidth=1)
        rc("lines", linewidth=LINE, markersize=POINT)
        rc("xtick", color=MUTED)
        rc("ytick", color=MUTED)
        rc("xtick.major", pad=10, size=0)  # the first figures of both axes share a corner
        rc("ytick.major", pad=6, size=0)
        try:
            yield
        finally:
            FORMAT.reset(token)


@lru_cache(maxsize=4096)
def width_of(text: str, pixels: float, weight: str = "normal") -> float:
    """Width of `text` in logical pixels."""
    font = FontProperties(family=rcParams["font.family"], size=points(pixels), weight=weight)
    renderer = RendererAgg(1, 1, PIXELS_PER_INCH * DENSITY)
    width, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(width) / DENSITY
