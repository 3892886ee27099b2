"""The axes that charts share: requests a second from 0, latency on a logarithm, users on powers of two."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from benchmark.charts.style import MUTED, SUBTITLE, points
from benchmark.stats.formatting import format_figure


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
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_figure(value)))
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
