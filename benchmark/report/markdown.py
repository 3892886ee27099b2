"""Rows as a Markdown table."""

from collections.abc import Iterable, Mapping

import pandas as pd

from benchmark.stats.figures import sample_floor
from benchmark.stats.formatting import ABSENT

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
