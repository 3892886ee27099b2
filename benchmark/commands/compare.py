"""`python -m benchmark compare A B`: whether run B is slower than run A."""

from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.output import console, one_line_errors, print_line


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Folder or name of the earlier run.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Folder or name of the later run.")],
    threshold_percent: Annotated[
        float,
        typer.Option(min=0, max=100, help="Smallest difference that counts: two runs drift by 5 to 10 %."),
    ] = 10.0,
    results: options.Results = options.RESULTS,
) -> None:
    """Compare two runs figure by figure.

    Exit code 1: some figure of B is slower; 2: the runs are not comparable.
    """
    from benchmark.stats.compare import compare_runs, find_run, summary, table
    from benchmark.stats.intervals import SLOWER

    threshold = threshold_percent / 100
    with one_line_errors(results, error_code=2):
        rows, warnings = compare_runs(find_run(a, results), find_run(b, results), threshold)
    for warning in warnings:
        print_line(f"warning: {warning}")
    console.print(table(rows, a, b))
    for line in summary(rows, threshold):
        print_line(line)
    if any(row.verdict == SLOWER for row in rows):
        raise typer.Exit(1)
