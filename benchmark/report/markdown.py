"""Rows as a Markdown table, and ratios as its cells show them."""

from collections.abc import Iterable, Mapping

import pandas as pd

from benchmark.stats.figures import sample_floor
from benchmark.stats.formatting import ABSENT, format_factor
from benchmark.stats.intervals import Ratio

TOO_FEW = {f"p{percentile}, ms": f"n < {sample_floor(percentile)}" for percentile in (50, 95)}
_NUMBER = rf"[\d{ABSENT}]|n <|$"


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """`rows` by heading, columns of numbers to the right; empty where there is no row."""
    frame = pd.DataFrame(rows)
    if frame.empty:
        return ""
    numbers = frame.apply(lambda column: column.str.match(_NUMBER).all())
    align = ["right" if one else "left" for one in numbers]
    return frame.to_markdown(index=False, disable_numparse=True, colalign=align)


def format_ratio(value: float, ratio: Ratio) -> str:
    """`value` with the interval of `ratio`, if it has one: 4.1x (3.4x to 4.9x)."""
    factor, interval = format_factor(value), ratio.interval
    if interval is None:
        return factor
    return f"{factor} ({format_factor(interval.low)} to {format_factor(interval.high)})"
