"""The figures of each rung of a ladder run, and its speed-up over the rung below, from the run's files.

results/<run>/ladder.csv   one row a rung
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from benchmark.experiments.ladder import APART, Rung, steps
from benchmark.runs.records import TASKS, Cell, RunFiles
from benchmark.stats.figures import sample_floor
from benchmark.stats.formatting import ABSENT, format_figure, rich_table
from benchmark.stats.intervals import SMALLEST_EFFECT, Ratio, format_ratio
from benchmark.stats.repeats import COMPARED, compare, repeats_of

RPS, _, P95 = COMPARED
CELL = ["server", "task", "workload", "users"]
OF_VALID = ["throughput_rps", "p50_ms", "p95_ms", "cache_hit_rate"]
# None of these needs a load: those of a cell whose load was invalid count too.
OF_STARTED = ["model_bytes", "cold_start_s", "rss_ready_bytes", "rss_peak_bytes"]
MB = 1e6


@dataclass(frozen=True)
class Step:
    """A rung as it was measured: medians over its repeats, factors over the rung below by rounds."""

    task: str
    users: int
    rung: Rung
    repeats: int
    figures: dict[str, float | None]
    factor: Ratio | None
    p95_factor: Ratio | None

    def record(self) -> dict[str, Any]:
        """One row of ladder.csv: plain figures with their units in the names."""
        factors: dict[str, Any] = {}
        for name, figure, ratio in (("rps", RPS, self.factor), ("p95", P95, self.p95_factor)):
            interval = ratio.interval if ratio else None
            factors |= {
                f"{name}_factor": ratio.value if ratio else None,
                f"{name}_factor_low": interval.low if interval else None,
                f"{name}_factor_high": interval.high if interval else None,
                f"{name}_is": ratio.verdict(figure.higher_is_faster, SMALLEST_EFFECT) if ratio else None,
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

    def row(self, heading: str = "decision") -> dict[str, str]:
        """One row of a table for readers, in a terminal or on a page; the decision is under `heading`."""
        figures, ratio = self.figures, self.factor
        hits, model, memory = (figures[name] for name in ("cache_hit_rate", "model_bytes", "rss_peak_bytes"))
        texts = ", repeated texts" if self.rung.workload == APART else ""
        return {
            heading: f"{self.rung.decision}{texts}{f', {hits:.0%} hits' if hits else ''}",
            "requests/s": format_figure(figures["throughput_rps"]),
            "speed-up": format_ratio(ratio.value, ratio) if ratio else ABSENT,
            "p95, ms": format_figure(figures["p95_ms"], f"n < {sample_floor(95)}"),
            "model, MB": format_figure(model and model / MB),
            "cold start, s": format_figure(figures["cold_start_s"]),
            "memory, MB": format_figure(memory and memory / MB),
        }


def ladder_of(files: RunFiles) -> list[Step]:
    """Every rung that the run has cells of, from the lowest up, by task and users."""
    return list(measured_steps(files))


def measured_steps(files: RunFiles) -> Iterator[Step]:
    medians, repeats = median_figures(files), repeats_of(files)
    known = files.read_run()["plan"]["servers"]
    for task in TASKS:
        for users in sorted(medians.index.unique("users")):
            for rung, below in steps(task, known):
                if (rung.configuration, task, rung.workload, users) not in medians.index:
                    continue
                own = repeats.get(Cell(rung.configuration, task, rung.workload, 1, users, 0))
                under = below and repeats.get(Cell(below.configuration, task, below.workload, 1, users, 0))
                factors = (compare(under, own, figure) if own and under else None for figure in (RPS, P95))
                figures = medians.loc[(rung.configuration, task, rung.workload, users)]
                yield Step(
                    task,
                    users,
                    rung,
                    len(own.records) if own else 0,
                    {str(name): None if pd.isna(value) else value for name, value in figures.items()},
                    *(compared.ratio if compared else None for compared in factors),
                )


def median_figures(files: RunFiles) -> pd.DataFrame:
    """The medians of each cell over its repeats; one is absent unless all repeats have the figure."""
    started = [record for record in files.read_cells() if record["status"] != "failed"]
    frame = pd.DataFrame(
        [
            {**record["cell"], **record["figures"], "model_bytes": record["model"]["bytes"]}
            for record in started
        ]
    )
    valid = pd.Series([record["status"] == "ok" for record in started], dtype=bool)
    parts = (
        cells.set_index(CELL)[columns].astype(float).groupby(level=CELL).agg(median_of_all)
        for cells, columns in ((frame[valid], OF_VALID), (frame, OF_STARTED))
    )
    return pd.concat(parts, axis="columns")


def median_of_all(values: pd.Series) -> float:
    return values.median(skipna=False)


def write_ladder(files: RunFiles, ladder: list[Step]) -> Path:
    """Writes ladder.csv and returns its path."""
    path = files.folder / "ladder.csv"
    pd.DataFrame([step.record() for step in ladder]).to_csv(path, index=False)
    return path


def table(ladder: list[Step]) -> Table:
    """The ladder for a terminal."""
    rows = ({"task": step.task, "users": f"{step.users:,}", **step.row()} for step in ladder)
    return rich_table(rows, "speed-up: over the row above, and its 95 % interval")
