"""`python -m benchmark compare A B`: whether run B is slower than run A; the exit code says it."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.options import console, plainly
from benchmark.runs.records import RunNotFound


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="The run before: its folder or name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The run after: its folder or name.")],
    threshold: Annotated[
        str, typer.Option(help="The smallest difference that counts: two runs drift apart by 5 to 10 %.")
    ] = "10%",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Compares two runs figure by figure. Exit code: 1 if any of B is slower, 2 if they do not compare."""
    smallest_effect = percentage(threshold, "--threshold")

    from benchmark.stats.compare import NotComparable, compare_runs, find_run, summary, table
    from benchmark.stats.intervals import SLOWER

    try:
        rows, warnings = compare_runs(find_run(a, results), find_run(b, results), smallest_effect)
    except (NotComparable, RunNotFound) as error:
        console.print(f"error: {error}", style="red", soft_wrap=True, markup=False)
        raise typer.Exit(2) from None
    for warning in warnings:
        plainly(f"warning: {warning}")
    console.print(table(rows, a, b))
    for line in summary(rows, smallest_effect):
        plainly(line)
    if any(row.verdict == SLOWER for row in rows):
        raise typer.Exit(1)


def percentage(text: str, option: str) -> float:
    """The share that a text such as 5% stands for; a bare number could be either and is refused."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if not (text.endswith("%") and 0 <= percent <= 100):
        raise typer.BadParameter(f"{text!r} is not a percentage such as 5%", param_hint=option)
    return percent / 100
