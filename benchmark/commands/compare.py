"""`python -m benchmark compare A B`: whether B is slower than A; both are runs, or revisions of the code."""

from dataclasses import dataclass
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.closed_loop import ClosedLoopOptions
from benchmark.commands.output import console, one_line_errors, print_line
from benchmark.experiments.compare_revisions import (
    CONFIGURATIONS,
    configurations,
    is_revision,
    repeats_by_revision,
)
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles, RunNotFound
from benchmark.stats.compare import Row, compare_cells, compare_runs, find_run, summary, table
from benchmark.stats.intervals import SLOWER, SMALLEST_EFFECT, SMALLEST_EFFECT_BETWEEN_RUNS

NOT_COMPARABLE = 2


@dataclass(frozen=True, kw_only=True)
class Compare(ClosedLoopOptions):
    """Compare two runs or two git revisions.

    Revisions are measured in turns within one run, with the options of the load; two runs of unchanged code
    drift apart by 5 to 10 %. Exit code 1: some figure of B is slower; 2: not comparable.
    """

    a: Annotated[str, typer.Argument(metavar="A", help="Run (folder or name) or git revision, the earlier.")]
    b: Annotated[str, typer.Argument(metavar="B", help="The later; `.` is this folder with its changes.")]
    users: options.UserCounts = (50,)
    duration: options.Duration = 10.0
    repeats: options.Repeats = 5
    server: options.Server = "dynamic_batching"
    threshold_percent: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Smallest difference that counts: 5 for revisions, 10 for runs."),
    ] = None

    def run(self) -> None:
        with one_line_errors(self.results, error_code=NOT_COMPARABLE):
            runs = self.find_runs()
            default = SMALLEST_EFFECT_BETWEEN_RUNS if runs else SMALLEST_EFFECT
            threshold = default if self.threshold_percent is None else self.threshold_percent / 100
            if runs:
                rows, warnings = compare_runs(*runs, threshold)
                for warning in warnings:
                    print_line(f"warning: {warning}")
            else:
                rows = self.measure_in_turns(threshold)
        console.print(table(rows, self.a, self.b))
        for line in summary(rows, threshold):
            print_line(line)
        if any(row.verdict == SLOWER for row in rows):
            raise typer.Exit(1)

    def find_runs(self) -> tuple[RunFiles, RunFiles] | None:
        """The runs A and B; None where they are git revisions. Raises RunNotFound where one is neither."""
        try:
            return find_run(self.a, self.results), find_run(self.b, self.results)
        except RunNotFound:
            if is_revision(self.a) and is_revision(self.b):
                return None
            raise

    def measure_in_turns(self, threshold: float) -> list[Row]:
        plan, revisions = self.plan(Plan, CONFIGURATIONS, (("unique", 1),)), (self.a, self.b)
        with self.run_folder("compare", resumable=True) as folder:
            files = RunFiles(folder)
            with configurations(revisions, self.server, self.models, self.manifest) as known:
                failed = self.measure(files, plan, known, kind="compare", revisions=list(revisions))
            if failed:
                raise failed
            first, second = repeats_by_revision(files, self.server)
            return compare_cells(first, second, threshold)
