"""`python -m benchmark plot|report|readme`: what is drawn and written from a run's files."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.options import console, fail
from benchmark.runs.records import RunFiles, RunNotFound


def plot(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; the latest unless given.")] = None,
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Draws the charts of a run from its files."""
    from benchmark.charts.draw import draw_all

    for path in draw_all(opened(run, results)):
        console.print(path, highlight=False, soft_wrap=True)


def report(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; the latest unless given.")] = None,
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Writes a run's report, one self-contained HTML page, from its files."""
    from benchmark.report.html import raw_requests, write_report

    files = opened(run, results)
    text = f"{write_report(files)}\nraw requests: {raw_requests(files)}"
    console.print(text, highlight=False, soft_wrap=True)


def readme() -> None:
    """Writes the README's figures and charts, and results/reference/README.md, from the reference runs."""
    from benchmark.report.readme import draw_charts, write_readme

    try:
        draw_charts()
        changed = write_readme()
    except RunNotFound as error:
        raise fail(error) from None
    console.print("README.md " + ("rewritten" if changed else "is up to date"))


def opened(run: Path | None, results: Path) -> RunFiles:
    try:
        return RunFiles.open(run) if run else RunFiles.latest(results)
    except RunNotFound as error:
        raise fail(error) from None


def draw(files: RunFiles) -> None:
    from benchmark.charts.draw import draw_all
    from benchmark.report.html import write_report

    console.print("drawing ...")
    draw_all(files)
    console.print(
        f"charts: {files.folder / 'charts'}\nreport: {write_report(files)}", highlight=False, soft_wrap=True
    )
