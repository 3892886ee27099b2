"""Compares one run with another, cell by cell: which figures changed by more than noise."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import Cell, RunFiles, RunNotFound
from benchmark.stats.formatting import format_count, format_significant
from benchmark.stats.intervals import (
    FASTER,
    SAME,
    SLOWER,
    SMALLEST_EFFECT_BETWEEN_RUNS,
    TOO_FEW_ROUNDS,
    Ratio,
)
from benchmark.stats.repeats import COMPARED, Compared, Repeats, compare, repeats_of

STYLES = {FASTER: "green", SLOWER: "red"}


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
    for name, path in (
        ("models are of another source", ("models", "source")),
        ("CPU is another one", ("environment", "machine", "cpu")),
        ("number of cores is another one", ("environment", "machine", "logical_cores")),
        ("servers and load had other cores", ("environment", "cores")),
    ):
        one, other = _at(first, path), _at(second, path)
        if one != other:
            raise NotComparable(f"the {name}: {_text(one)} and {_text(other)}")
    if changed := sorted(_changed(_weights(first), _weights(second))):
        raise NotComparable(f"the weights differ: {', '.join(changed)}")
    warnings = []
    for path in (("plan", "duration_s"), ("plan", "warmup_s"), ("plan", "seed")):
        one, other = _at(first, path), _at(second, path)
        if one != other:
            warnings.append(f"{path[-1]} differs: {_text(one)} and {_text(other)}")
    for path in (("environment", "server_settings"), ("environment", "versions")):
        of_first, of_second = _at(first, path) or {}, _at(second, path) or {}
        warnings += [
            f"{name} differs: {_text(of_first.get(name))} and {_text(of_second.get(name))}"
            for name in sorted(_changed(of_first, of_second, absent_too=True))
        ]
    return warnings


def table(rows: list[Row], first: str, second: str) -> Table:
    """The rows for a terminal; a verdict is of `second` against `first`."""
    title = f"A: {first}, B: {second}; geometric means over the rounds that both have"
    shown = Table(title=title, title_justify="left")
    for heading in ("cell", "users", "figure", "A", "B", "B/A", "95 % interval", "rounds", "B is"):
        left = heading in ("cell", "figure", "B is")
        shown.add_column(heading, justify="left" if left else "right", no_wrap=heading != "cell")
    before = None
    for row in rows:
        cell, compared = row.cell, row.compared
        name = f"{cell.server} {cell.task} {cell.workload} x{cell.texts_per_request}"
        shown.add_row(
            *((name, f"{cell.users:,}") if cell != before else ("", "")),
            compared.figure.heading,
            format_significant(compared.first),
            format_significant(compared.second),
            f"{compared.ratio.value:.3f}",
            format_interval(compared.ratio),
            str(compared.rounds),
            row.verdict,
            style=STYLES.get(row.verdict, ""),
        )
        before = cell
    return shown


def format_interval(ratio: Ratio) -> str:
    return f"{ratio.interval.low:.3f} to {ratio.interval.high:.3f}" if ratio.interval else ""


def summary(rows: list[Row], smallest_effect: float) -> Iterator[str]:
    """The number of each verdict, and what a verdict means."""
    counts = Counter(row.verdict for row in rows)
    verdicts = (FASTER, SLOWER, SAME, *([TOO_FEW_ROUNDS] if counts[TOO_FEW_ROUNDS] else []))
    yield f"{format_count(len(rows), 'figure')}: " + ", ".join(f"{counts[one]} {one}" for one in verdicts)
    yield (
        f"faster or slower: the ratio is beyond a factor of {1 + smallest_effect:.3g}, and its 95 % interval "
        "leaves out 1; about 1 in 20 figures of unchanged code may do so"
    )


def _at(record: dict[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = record
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _weights(record: dict[str, Any]) -> dict[str, Any]:
    """Artefact -> hash of the weights that the others were made from; those may differ, as code does."""
    artefacts = _at(record, ("models", "artefacts")) or {}
    return {
        name: _at(artefact, ("files", "model.safetensors", "sha256"))
        for name, artefact in artefacts.items()
        if name.endswith("/pytorch")
    }


def _changed(first: dict[str, Any], second: dict[str, Any], absent_too: bool = False) -> set[str]:
    keys = first.keys() | second.keys() if absent_too else first.keys() & second.keys()
    return {key for key in keys if first.get(key) != second.get(key)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return "none" if value is None else str(value)
