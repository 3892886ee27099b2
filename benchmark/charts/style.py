"""How every chart looks: sizes, colours and fonts. Lengths are logical pixels; PNGs have twice as many."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
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
_format = ContextVar("format", default=PICTURE)

PIXELS_PER_INCH = 100
DENSITY = 2
MARGIN = 26

COLOURS = {"baseline": "#8a8a8a", "optimized": "#0072B2", "dynamic_batching": "#D55E00"}
PEER = "#000000"
PAPER, INK, MUTED, GRID, SHADE = "#ffffff", "#1f1f1f", "#595959", "#dedede", "#eef1f4"
# Thin strokes of a letter look paler than a line of the same colour.
_TEXT_COLOURS = {"baseline": "#666666", "optimized": "#005f96", "dynamic_batching": "#b34e00"}

LIGHT = 0.4

TITLE, SUBTITLE, LABEL, TICK, CAPTION = 36, 25, 29, 26, 20.5
LINE_SPACING = 1.22
LEFT_AXIS = 112
BOTTOM_AXIS = 74

_FONTS = ("Inter", "Segoe UI", "Helvetica Neue", "Arial", "Liberation Sans", "Noto Sans", "DejaVu Sans")


def points(pixels: float) -> float:
    """Logical pixels as the typographic points that matplotlib wants."""
    return pixels * 72 / PIXELS_PER_INCH


def colour(server: str) -> str:
    return COLOURS.get(server, PEER)


def text_colour(server: str) -> str:
    return _TEXT_COLOURS.get(server, PEER)


def light_colour(server: str) -> str:
    """The server's colour on paper, as a tint: a transparent one would let the grid through."""
    red, green, blue = (1 - LIGHT * (1 - channel) for channel in to_rgb(colour(server)))
    return to_hex((red, green, blue))


def dashes(server: str, *, tail: bool = False) -> str:
    """The line style of a server's median, or of its tail (p95); a peer is dashed, so its tail is dotted."""
    if server in NAMES:
        return "--" if tail else "-"
    return ":" if tail else "--"


def format_in_use() -> Format:
    return _format.get()


@contextmanager
def applied(format_: Format = PICTURE) -> Iterator[None]:
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
    token = _format.set(format_)
    try:
        with matplotlib.rc_context(settings):
            yield
    finally:
        _format.reset(token)


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


def fitting(text: str, pixels: float, room: float) -> float:
    """The size up to `pixels` at which `text` is no wider than `room`."""
    return min(pixels, pixels * room / width_of(text, pixels))
