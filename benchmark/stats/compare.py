"""Compares cells measured in turns, pair by pair: which figures differ by more than noise."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import Cell
from benchmark.stats.formatting import format_count, format_significant, rich_table
from benchmark.stats.intervals import FASTER, SAME, SLOWER, TOO_FEW_ROUNDS
from benchmark.stats.repeats import COMPARED, Compared, Repeats, compare

STYLES = {FASTER: "green", SLOWER: "red"}


@dataclass(frozen=True)
class Row:
    """One figure of a cell (of repeat 0: all its repeats) in both measurements."""

    cell: Cell
    compared: Compared
    verdict: str


def compare_cells(
    first: dict[Cell, Repeats], second: dict[Cell, Repeats], smallest_effect: float
) -> list[Row]:
    """The figures of the cells that both have, in the order of the cells.

    Raises:
        BenchmarkError: they have no valid cell in common.
    """
    rows = [
        Row(cell, compared, compared.verdict(smallest_effect))
        for cell in sorted(first.keys() & second.keys())
        for figure in COMPARED
        if (compared := compare(first[cell], second[cell], figure))
    ]
    if not rows:
        raise BenchmarkError("A and B have no valid cell in common")
    return rows


def table(rows: list[Row], first: str, second: str) -> Table:
    """The rows for a terminal; a verdict is of `second` against `first`."""
    title = f"A: {first}, B: {second}; geometric means over the rounds that both have"
    table = rich_table(map(table_row, rows), title)
    for row, shown in zip(rows, table.rows, strict=True):
        shown.style = STYLES.get(row.verdict)
    return table


def table_row(row: Row) -> dict[str, str]:
    cell, compared, interval = row.cell, row.compared, row.compared.ratio.interval
    return {
        "cell": f"{cell.server} {cell.task} {cell.workload} x{cell.texts_per_request}",
        "users": f"{cell.users:,}",
        "figure": compared.figure.heading,
        "A": format_significant(compared.first),
        "B": format_significant(compared.second),
        "B/A": f"{compared.ratio.value:.3f}",
        "95 % interval": f"{interval.low:.3f} to {interval.high:.3f}" if interval else "",
        "rounds": str(compared.rounds),
        "B is": row.verdict,
    }


def summary(rows: list[Row], smallest_effect: float) -> Iterator[str]:
    """The number of each verdict, and what a verdict means."""
    counts = Counter(row.verdict for row in rows)
    verdicts = (FASTER, SLOWER, SAME, *([TOO_FEW_ROUNDS] if counts[TOO_FEW_ROUNDS] else []))
    yield f"{format_count(len(rows), 'figure')}: " + ", ".join(f"{counts[one]} {one}" for one in verdicts)
    yield (
        f"faster or slower: the ratio is beyond a factor of {1 + smallest_effect:.3g}, and its 95 % interval "
        "leaves out 1; about 1 in 20 figures of unchanged code may do so"
    )
