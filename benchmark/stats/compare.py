"""Compares one run with another, cell by cell: which figures changed by more than noise."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import Cell, RunFiles, RunNotFound
from benchmark.stats.formatting import format_count, format_significant, rich_table
from benchmark.stats.intervals import (
    FASTER,
    SAME,
    SLOWER,
    SMALLEST_EFFECT_BETWEEN_RUNS,
    TOO_FEW_ROUNDS,
)
from benchmark.stats.repeats import COMPARED, Compared, Repeats, compare, repeats_of

STYLES = {FASTER: "green", SLOWER: "red"}
# Paths in run.json that begin so: a difference there measures something else than the code.
REFUSED = {
    "models/source": "models are of another source",
    "environment/machine/cpu": "CPU is another one",
    "environment/machine/logical_cores": "number of cores is another one",
    "environment/cores/": "servers and load had other cores",
}
# Of other files than these the weights may differ, as code does: they were made from these.
WEIGHTS = re.compile("models/artefacts/(.+/pytorch)/files/model.safetensors/sha256")
WARNED = (
    "plan/duration_s",
    "plan/warmup_s",
    "plan/seed",
    "environment/server_settings/",
    "environment/versions/",
)


class NotComparable(BenchmarkError):
    """Two runs whose ratio would measure something else than the code."""


@dataclass(frozen=True)
class Row:
    """One figure of a cell (of repeat 0: all its repeats) in both runs."""

    cell: Cell
    compared: Compared
    verdict: str


def find_run(name: str, results: Path) -> RunFiles:
    """The run that `name` stands for: a folder, or one under `results` or its `reference`.

    Raises:
        RunNotFound: there is none.
    """
    for folder in (Path(name), results / name, results / "reference" / name):
        if (folder / "run.json").is_file():
            return RunFiles.open(folder)
    raise RunNotFound(f"there is no run {name}: neither a folder with a run.json nor a name under {results}")


def compare_runs(
    first: RunFiles, second: RunFiles, smallest_effect: float = SMALLEST_EFFECT_BETWEEN_RUNS
) -> tuple[list[Row], list[str]]:
    """The figures of the valid cells that both runs measured, in the order of the cells; and warnings.

    A cell that a run reuses from another one is left out: it says nothing of this run.

    Raises:
        NotComparable: other models, another machine or other cores, or no figure in common.
    """
    warnings = differences(first.read_run(), second.read_run())
    return compare_cells(repeats_of(first), repeats_of(second), smallest_effect), warnings


def compare_cells(
    first: dict[Cell, Repeats], second: dict[Cell, Repeats], smallest_effect: float
) -> list[Row]:
    """The figures of the cells that both have, in the order of the cells.

    Raises:
        NotComparable: they have no valid cell in common.
    """
    rows = [
        Row(cell, compared, compared.verdict(smallest_effect))
        for cell in sorted(first.keys() & second.keys())
        if not first[cell].reused and not second[cell].reused
        for figure in COMPARED
        if (compared := compare(first[cell], second[cell], figure))
    ]
    if not rows:
        raise NotComparable("A and B have no valid cell in common")
    return rows


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """What differs between two run.json besides the code and may matter to speed, a line each.

    Raises:
        NotComparable: it would matter too much.
    """
    one, other = facts(first), facts(second)
    changed = {
        name: f"{one.get(name, 'none')} and {other.get(name, 'none')}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    }
    for name, values in changed.items():
        for start, message in REFUSED.items():
            if name.startswith(start):
                raise NotComparable(f"the {message}: {values}")
        if (weights := WEIGHTS.fullmatch(name)) and name in one and name in other:
            raise NotComparable(f"the weights differ: {weights[1]}")
    return [
        f"{name.rpartition('/')[2]} differs: {values}"
        for name, values in changed.items()
        if name.startswith(WARNED)
    ]


def facts(run: dict[str, Any]) -> dict[str, Any]:
    """Each value of a run.json by its path."""
    return {str(path): value for path, value in pd.json_normalize(run, sep="/").iloc[0].items()}


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
