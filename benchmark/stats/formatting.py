"""Figures as text: the one place that decides how many digits a reader is shown."""

import math
import re
from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

ABSENT = "–"
NOT_REPORTED = "not reported"
# How the speed of a task in process is counted: a text's sentiment is an answer of one token.
SPEED_UNITS = {"translation": "tokens/s", "sentiment": "texts/s"}


def format_figure(value: float | None, absent: str = ABSENT) -> str:
    """A figure with the digits it is worth, as labels and tables print it: 0.42, 9.8, 12, 1,240."""
    if value is None or not math.isfinite(value):
        return absent
    if value == 0 or abs(value) >= 9.95:
        return f"{value:,.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2g}"


def format_number(value: float | None, digits: int, absent: str = "") -> str:
    """A figure with a fixed number of decimals, for the columns of a table."""
    return absent if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def format_significant(value: float) -> str:
    """A figure with about three places, for tables that compare."""
    return format_number(value, 0 if value >= 100 else 1 if value >= 10 else 2)


def format_exact(value: float) -> str:
    """A figure with more digits than a label has, for hover texts."""
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"


def format_factor(ratio: float) -> str:
    """A ratio as 1.4x or 21x."""
    return f"{ratio:.0f}x" if ratio >= 9.95 else f"{ratio:.1f}x"


def format_ms(value: float | None) -> str:
    """A latency with its unit; a percentile under its sample floor is not reported."""
    return NOT_REPORTED if value is None else f"{format_figure(value)} ms"


def format_count(count: int, noun: str) -> str:
    """`1 user`, `1,200 users`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def format_users(level: int) -> str:
    return format_count(level, "user")


def format_percent(share: float) -> str:
    """A share as `45 %`."""
    return f"{share:.0%}".replace("%", " %")


def rich_table(rows: Iterable[Mapping[str, str]], title: str = "") -> Table:
    """A table for the terminal from rows of heading -> text; columns of numbers are aligned right."""
    rows = list(rows)
    table = Table(title=title or None, title_justify="left")
    for heading in rows[0] if rows else ():
        cells = {row[heading] for row in rows} - {"", ABSENT, NOT_REPORTED}
        numeric = bool(cells) and all(re.match(r"[-+]?\d", cell) for cell in cells)
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table
