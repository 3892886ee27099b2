"""Holds one run against another, cell by cell: which figures changed by more than noise."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmark.runs.records import Cell, RunFiles, RunNotFound
from benchmark.stats.elasticity import Elasticity, elasticity
from benchmark.stats.formatting import format_number
from benchmark.stats.intervals import DRIFT, FASTER, SAME, SLOWER, SMALLEST_EFFECT, Ratio
from benchmark.stats.repeats import COMPARED, Compared, Repeats, compare, repeats_of

STYLES = {FASTER: "green", SLOWER: "red", SAME: ""}


class NotComparable(Exception):
    """Two runs whose ratio would measure something else than the code."""


@dataclass(frozen=True)
class Row:
    """One figure of a cell (of repeat 0: all its repeats) in both runs."""

    cell: Cell
    found: Compared
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
    first: RunFiles,
    second: RunFiles,
    smallest_effect: float = SMALLEST_EFFECT,
    drift: float = DRIFT,
) -> tuple[list[Row], list[str]]:
    """The figures of the valid cells that both runs measured, in the order of the cells; and warnings.

    A cell that a run borrowed from another one is left out: it says nothing of this run.

    Raises:
        NotComparable: other models, another machine or other cores, or no figure in common.
    """
    warnings = differences(first.read_run(), second.read_run())
    of_first, of_second = repeats_of(first), repeats_of(second)
    rows = []
    common = [
        cell
        for cell in sorted(of_first.keys() & of_second.keys())
        if not of_first[cell].borrowed and not of_second[cell].borrowed
    ]
    follows = elasticities([(cell, run[cell]) for cell in common for run in (of_first, of_second)])
    for cell in common:
        one, other, follow = of_first[cell], of_second[cell], follows[cell.server, cell.task]
        for figure in COMPARED:
            found = compare(one, other, figure, interleaved=False, drift=drift, follows=follow)
            if found:
                rows.append(Row(cell, found, found.verdict(smallest_effect)))
    missing = [
        path for cell in common for run in (of_first, of_second) for path in run[cell].missing_requests()
    ]
    others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
    lacking = f"requests are missing: {missing[0]}{others}" if missing else ""
    if not rows:
        raise NotComparable(lacking or "the runs have no valid cell in common")
    if lacking:
        warnings.append(f"{lacking}; figures that need them are left out")
    return rows, warnings


def elasticities(cells: Sequence[tuple[Cell, Repeats]]) -> dict[tuple[str, str], Elasticity | None]:
    """Server and task -> how its speed follows the machine's, seen within all of its cells in both runs."""
    windows: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for cell, repeats in cells:
        windows[cell.server, cell.task] += [repeats.block_logs(number) for number in repeats.records]
    return {key: elasticity(found) for key, found in windows.items()}


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
    shown = Table(
        title=f"A: {first}, B: {second}; geometric means over the rounds that both have; "
        "machine: its speed in B over that in A, taken out of B/A",
        title_justify="left",
    )
    headings = ("cell", "users", "figure", "A", "B", "machine", "B/A", "interval", "of", "B is")
    for heading in headings:
        left = heading in ("cell", "figure", "of", "B is")
        shown.add_column(heading, justify="left" if left else "right", no_wrap=heading != "cell")
    before = None
    for row in rows:
        cell, found = row.cell, row.found
        name = f"{cell.server} {cell.task} {cell.workload} x{cell.texts_per_request}"
        shown.add_row(
            *((name, f"{cell.users:,}") if cell != before else ("", "")),
            found.figure.heading,
            format_number(found.first, digits_of(found.first)),
            format_number(found.second, digits_of(found.second)),
            f"{found.speed_ratio:.3f}" if found.speed_ratio else "",
            *ratio_texts(found.ratio),
            found.ratio.interval.method,
            row.verdict,
            style=STYLES[row.verdict],
        )
        before = cell
    return shown


def summary(rows: list[Row], smallest_effect: float) -> Iterator[str]:
    """What the rows come to, and what a verdict means."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in (FASTER, SLOWER, SAME)}
    figures = "1 figure" if len(rows) == 1 else f"{len(rows)} figures"
    yield f"{figures}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    yield (
        f"faster or slower: the ratio is beyond a factor of {1 + smallest_effect:.3g}, and its 95 % interval "
        "leaves out 1; about 1 in 20 figures of unchanged code may do so"
    )


def digits_of(value: float) -> int:
    """Decimals that show a figure to about three places."""
    return 0 if value >= 100 else 1 if value >= 10 else 2


def ratio_texts(ratio: Ratio) -> tuple[str, str]:
    return f"{ratio.value:.3f}", f"{ratio.interval.low:.3f} to {ratio.interval.high:.3f}"


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
