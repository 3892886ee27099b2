"""The axes that charts share: requests a second from 0, latency on a logarithm, users on powers of two."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmark.charts.sheet import Place
from benchmark.charts.style import INK, LABEL, points
from benchmark.stats.formatting import format_figure, format_percent


def write(
    ax: Axes, text: str, place: Place, offset: Place = (0, 0), size: float = LABEL, ink: str = INK, **how: Any
) -> Annotation:
    """Writes `text` at `place` in data of `ax`, moved by `offset` in logical pixels."""
    how |= {"fontsize": points(size), "color": ink, "annotation_clip": False}
    x, y = offset
    return ax.annotate(text, place, (points(x), points(y)), textcoords="offset points", **how)


def log_ms_axis(ax: Axes, values: Sequence[float]) -> None:
    """A logarithmic y axis in ms that holds `values`, with ticks at 1, 2 and 5."""
    ticks = ticks_1_2_5(values)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_ylim(ticks[0], ticks[-1])
    # More than nine tick texts would touch: the powers of ten alone still name the scale.
    shown = ticks if len(ticks) <= 9 else [tick for tick in ticks if f"{tick:e}".startswith("1")]
    ax.yaxis.set_major_locator(FixedLocator(shown))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_figure(value)))
    ax.yaxis.set_minor_locator(NullLocator())


def ticks_1_2_5(values: Sequence[float]) -> list[float]:
    """1, 2, 5 x 10^k from the last at or below `values` to the first at or above, at least three."""
    positive = [value for value in values if value > 0 and math.isfinite(value)] or [100, 1000]
    low, high = min(positive), max(positive)
    steps = [digit * 10.0**exponent for exponent in range(-4, 9) for digit in (1, 2, 5)]
    first = bisect_right(steps, low * 1.001) - 1
    last = bisect_left(steps, high * 0.999)
    while last - first < 2:
        # The data stand in the middle: the end that they are nearest to moves away.
        if steps[last] / high < low / steps[first]:
            last += 1
        else:
            first -= 1
    return steps[first : last + 1]


def rps_axis(ax: Axes, values: Sequence[float], *, horizontal: bool = False) -> None:
    """A linear axis of requests a second that starts at 0 and holds `values`."""
    highest = max((value for value in values if math.isfinite(value)), default=0) or 1
    axis = ax.xaxis if horizontal else ax.yaxis
    (ax.set_xlim if horizontal else ax.set_ylim)(0, highest * 1.08)
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def log2_axis(ax: Axes, levels: Sequence[float], name: str, suffix: str = "") -> None:
    """A log2 x axis whose only ticks are the measured `levels`."""
    low, high = (min(levels), max(levels)) if levels else (1, 2)
    pad = (high / low) ** 0.04 if high > low else 2
    ax.set_xscale("log", base=2)
    ax.set_xlim(low / pad, high * pad)
    ax.set_xticks(levels, [f"{level:,g}{suffix}" for level in levels])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(name)


def share_ticks(ax: Axes, axis: str, shares: Sequence[float]) -> None:
    """Ticks at `shares`, in percent."""
    (ax.set_xticks if axis == "x" else ax.set_yticks)(shares, [format_percent(share) for share in shares])
