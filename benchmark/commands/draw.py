"""`python -m benchmark plot|report|readme`: draw charts and write pages from the files of runs."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.output import one_line_errors, print_line
from benchmark.runs.environment import ROOT
from benchmark.runs.records import RunFiles

Run = Annotated[Path | None, typer.Argument(help="Folder of the run; by default the latest.")]


def plot(run: Run = None, results: options.Results = options.RESULTS) -> None:
    """Draw the charts of a run."""
    from benchmark.charts.draw import draw_all

    with one_line_errors(results):
        for path in draw_all(open_run(run, results)):
            print_line(path)


def report(run: Run = None, results: options.Results = options.RESULTS) -> None:
    """Write the report of a run.

    It is one self-contained HTML page. Prints its path, and where the raw requests are.
    """
    from benchmark.report.html import raw_requests, write_report

    with one_line_errors(results):
        files = open_run(run, results)
        print_line(f"{write_report(files)}\nraw requests: {raw_requests(files)}")


def readme() -> None:
    """Rewrite the generated tables and charts.

    They are in README.md and docs/. Runs come from results/reference, settings from the servers. A run with
    uncommitted changes is refused.
    """
    from benchmark.report.pages import draw_charts, write_pages

    with one_line_errors(options.RESULTS):
        draw_charts()
        for page in write_pages():
            print_line(f"rewritten: {page.relative_to(ROOT)}")


def open_run(run: Path | None, results: Path) -> RunFiles:
    return RunFiles.open(run) if run else RunFiles.latest(results)


def draw_run(files: RunFiles) -> None:
    """Draws all charts of a run and writes its report."""
    from benchmark.charts.draw import draw_all
    from benchmark.report.html import write_report

    print_line("drawing ...")
    draw_all(files)
    print_line(f"charts: {files.folder / 'charts'}\nreport: {write_report(files)}")


def draw_experiments(folder: Path) -> None:
    """Draws the charts of the experiments that a run's folder holds."""
    from benchmark.charts.draw import draw_experiments

    for path in draw_experiments(RunFiles(folder)):
        print_line(path)
