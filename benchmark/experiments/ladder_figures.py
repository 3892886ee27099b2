"""What each rung of a ladder run came to, and its own factor over the rung below, from the run's files.

results/<run>/ladder.csv   one row a rung
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from rich.table import Table

from benchmark.experiments.ladder import Rung, steps
from benchmark.runs.records import TASKS, Cell, RunFiles
from benchmark.stats.formatting import format_number, format_significant
from benchmark.stats.intervals import SMALLEST_EFFECT, Ratio
from benchmark.stats.repeats import COMPARED, Repeats, compare, repeats_of

RPS, _, P95 = COMPARED
# None of these needs a load: a cell whose load was invalid tells them as well.
FOOTPRINT = ("cold_start_s", "rss_ready_bytes", "rss_peak_bytes")
MB = 1e6


@dataclass(frozen=True)
class Step:
    """A rung as it was measured: medians over valid repeats, factors over the rung below by rounds."""

    task: str
    users: int
    rung: Rung
    repeats: int
    figures: dict[str, float | None]
    factor: Ratio | None
    p95_factor: Ratio | None

    def row(self) -> dict[str, Any]:
        """One line of the table: plain figures with their units in the names."""
        factors: dict[str, Any] = {}
        for name, ratio, higher_is_faster in (
            ("rps", self.factor, True),
            ("p95", self.p95_factor, False),
        ):
            factors |= {
                f"{name}_factor": ratio.value if ratio else None,
                f"{name}_factor_low": ratio.interval.low if ratio and ratio.interval else None,
                f"{name}_factor_high": ratio.interval.high if ratio and ratio.interval else None,
                f"{name}_is": ratio.verdict(higher_is_faster, SMALLEST_EFFECT) if ratio else None,
            }
        return {
            "task": self.task,
            "workload": self.rung.workload,
            "users": self.users,
            "decision": self.rung.decision,
            "configuration": self.rung.configuration,
            "valid_repeats": self.repeats,
            **self.figures,
            **factors,
        }


def ladder_of(files: RunFiles) -> list[Step]:
    """Every rung that the run has cells of, from the lowest up, by task and users."""
    records = files.read_cells()
    repeats = repeats_of(files)
    known = files.read_run()["plan"]["servers"]
    levels = sorted({record["cell"]["users"] for record in records})
    return [
        step
        for task in TASKS
        for users in levels
        for step in _climb(records, repeats, steps(task, known), task, users)
    ]


def _climb(
    records: list[dict[str, Any]],
    repeats: dict[Cell, Repeats],
    rungs: Iterable[tuple[Rung, Rung | None]],
    task: str,
    users: int,
) -> Iterator[Step]:
    for rung, below in rungs:
        cell = Cell(rung.configuration, task, rung.workload, 1, users, 0)
        started = [
            record
            for record in records
            if record["status"] != "failed" and _stands_for(cell, Cell(**record["cell"]))
        ]
        if not started:
            continue
        own = repeats.get(cell)
        under = repeats.get(Cell(below.configuration, task, below.workload, 1, users, 0)) if below else None
        factor, p95_factor = (compare(under, own, figure) if under and own else None for figure in (RPS, P95))
        valid = [*own.records.values()] if own else []
        yield Step(
            task,
            users,
            rung,
            len(valid),
            {
                "throughput_rps": _median(valid, "throughput_rps"),
                "p50_ms": _median(valid, "p50_ms"),
                "p95_ms": _median(valid, "p95_ms"),
                "cache_hit_rate": _median(valid, "cache_hit_rate"),
                "model_bytes": float(started[0]["model"]["bytes"]),
                **{figure: _median(started, figure) for figure in FOOTPRINT},
            },
            factor.ratio if factor else None,
            p95_factor.ratio if p95_factor else None,
        )


def _stands_for(cell: Cell, repeat: Cell) -> bool:
    return (cell.server, cell.task, cell.workload, cell.users) == (
        repeat.server,
        repeat.task,
        repeat.workload,
        repeat.users,
    )


def _median(records: list[dict[str, Any]], figure: str) -> float | None:
    """The median over the repeats that have the figure; None unless all of them do."""
    found = [record["figures"].get(figure) for record in records]
    return float(median(found)) if found and None not in found else None


def write_ladder(files: RunFiles, ladder: list[Step]) -> Path:
    """Writes ladder.csv and returns its path."""
    path = files.folder / "ladder.csv"
    pd.DataFrame([step.row() for step in ladder]).to_csv(path, index=False)
    return path


def table(ladder: list[Step]) -> Table:
    """The ladder for a terminal."""
    shown = Table(title="each rung's factor is over the one above it in the table", title_justify="left")
    left = ("task", "texts", "decision")
    headings = (*left, "users", "RPS", "own factor", "interval", "p95 ms", "hits", "model MB", "start s")
    for heading in (*headings, "memory MB"):
        shown.add_column(heading, justify="left" if heading in left else "right")
    for step in ladder:
        found, interval = step.figures, step.factor.interval if step.factor else None
        rps, hits, peak = found["throughput_rps"], found["cache_hit_rate"], found["rss_peak_bytes"]
        shown.add_row(
            step.task,
            step.rung.workload,
            step.rung.decision,
            f"{step.users:,}",
            format_significant(rps) if rps else "",
            f"{step.factor.value:.2f}x" if step.factor else "",
            f"{interval.low:.2f} to {interval.high:.2f}" if interval else "",
            format_number(found["p95_ms"], 0),
            "" if hits is None else f"{hits:.1%}",
            format_number(found["model_bytes"] / MB if found["model_bytes"] else None, 1),
            format_number(found["cold_start_s"], 1),
            format_number(peak / MB if peak else None, 0),
        )
    return shown
