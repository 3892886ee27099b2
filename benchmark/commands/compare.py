"""`python -m benchmark compare A B`: whether B is slower than A; both are runs, or revisions of the code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.closed_loop import ClosedLoopOptions, measure_cells
from benchmark.commands.output import console, one_line_errors, print_line
from benchmark.experiments.compare_revisions import (
    CONFIGURATIONS,
    configurations,
    is_revision,
    repeats_by_revision,
)
from benchmark.measure.runner import Runner
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles, RunNotFound
from benchmark.stats.compare import Row, compare_cells, compare_runs, find_run, summary, table
from benchmark.stats.intervals import SLOWER, SMALLEST_EFFECT, SMALLEST_EFFECT_BETWEEN_RUNS

NOT_COMPARABLE = 2


@dataclass(frozen=True)
class RevisionOptions(ClosedLoopOptions):
    """How two revisions are measured."""

    users: options.UserCounts = (50,)
    duration: options.Duration = 10.0
    repeats: options.Repeats = 5


def compare(
    load: RevisionOptions,
    a: Annotated[str, typer.Argument(metavar="A", help="Run (folder or name) or git revision, the earlier.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The later; `.` is this folder with its changes.")],
    server: options.Server = "dynamic_batching",
    threshold_percent: Annotated[
        float | None,
        typer.Option(min=0, max=100, help="Smallest difference that counts: 5 for revisions, 10 for runs."),
    ] = None,
) -> None:
    """Compare two runs, or measure two git revisions in turns and compare them.

    Two runs of unchanged code drift apart by 5 to 10 %; two revisions measured in turns do not. The
    options of the load are for revisions. Exit code 1: some figure of B is slower; 2: not comparable.
    """
    with one_line_errors(load.results, error_code=NOT_COMPARABLE):
        runs = find_runs((a, b), load.results)
        default = SMALLEST_EFFECT_BETWEEN_RUNS if runs else SMALLEST_EFFECT
        threshold = default if threshold_percent is None else threshold_percent / 100
        if runs:
            rows, warnings = compare_runs(*runs, threshold)
            for warning in warnings:
                print_line(f"warning: {warning}")
        else:
            rows = measure_in_turns(load, (a, b), server, threshold)
    console.print(table(rows, a, b))
    for line in summary(rows, threshold):
        print_line(line)
    if any(row.verdict == SLOWER for row in rows):
        raise typer.Exit(1)


def find_runs(names: tuple[str, str], results: Path) -> tuple[RunFiles, RunFiles] | None:
    """The runs of these names; None where they are git revisions instead.

    Raises:
        RunNotFound: one of them is neither.
    """
    try:
        return find_run(names[0], results), find_run(names[1], results)
    except RunNotFound:
        if all(map(is_revision, names)):
            return None
        raise


def measure_in_turns(
    load: RevisionOptions, revisions: tuple[str, str], server: str, threshold: float
) -> list[Row]:
    plan = load.plan(Plan, CONFIGURATIONS, (("unique", 1),))
    with load.session("compare", load.server_cores, resumable=True) as session:
        files = RunFiles(session.folder)
        with configurations(revisions, server, session.models, session.manifest) as known:
            runner = Runner(plan, files, session.models, session.manifest, session.cores, 0, known)
            failed = measure_cells(runner, session.manifest, kind="compare", revisions=list(revisions))
        if failed:
            raise failed
        first, second = repeats_by_revision(files, server)
        return compare_cells(first, second, threshold)
