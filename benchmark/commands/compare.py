"""`python -m benchmark compare A B`: whether B is slower than A; both are git revisions of a server."""

from dataclasses import dataclass
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.closed_loop import ClosedLoopOptions
from benchmark.commands.output import console, fail, print_line
from benchmark.experiments.compare_revisions import (
    CONFIGURATIONS,
    configurations,
    is_revision,
    repeats_by_revision,
)
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles
from benchmark.stats.compare import compare_cells, summary, table
from benchmark.stats.intervals import SLOWER

# None that a failed measurement or a bad option ends with.
SLOWER_EXIT_CODE = 3


@dataclass(frozen=True, kw_only=True)
class Compare(ClosedLoopOptions):
    """Compare two git revisions of a server.

    They are measured in turns within one run, so that a drift of the machine falls on both. Exit code 3: some
    figure of B is slower; 1: they could not be measured; 2: A or B is no revision.
    """

    a: Annotated[str, typer.Argument(metavar="A", help="Git revision, the earlier.")]
    b: Annotated[str, typer.Argument(metavar="B", help="The later; `.` is this folder with its changes.")]
    users: options.UserCounts = (50,)
    duration: options.Duration = 10.0
    repeats: options.Repeats = 5
    server: options.Server = "dynamic_batching"
    threshold_percent: Annotated[
        float, typer.Option(min=0, max=100, help="Smallest difference that counts.")
    ] = 5.0

    def run(self) -> None:
        for name in (self.a, self.b):
            if not is_revision(name):
                raise fail(f"{name} is no git revision of this repository", exit_code=2)
        plan, revisions = self.plan(Plan, CONFIGURATIONS, (("unique", 1),)), (self.a, self.b)
        with self.run_folder("compare", resumable=True) as folder:
            files = RunFiles(folder)
            with configurations(revisions, self.server, self.models, self.manifest) as known:
                failed = self.measure(files, plan, known, kind="compare", revisions=list(revisions))
            if failed:
                raise failed
            threshold = self.threshold_percent / 100
            rows = compare_cells(*repeats_by_revision(files, self.server), threshold)
            console.print(table(rows, self.a, self.b))
            for line in summary(rows, threshold):
                print_line(line)
            if any(row.verdict == SLOWER for row in rows):
                raise typer.Exit(SLOWER_EXIT_CODE)
