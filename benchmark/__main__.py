"""Command line: `python -m benchmark COMMAND`; `--help` lists the commands."""

import sys

import typer

from benchmark.commands.closed_loop import Ladder, Run
from benchmark.commands.compare import Compare
from benchmark.commands.draw import plot, readme, report
from benchmark.commands.experiments import BatchTimeline, Capacity, OfflineThroughput, Roofline, Soak
from benchmark.commands.open_loop import HeadOfLineBlocking, OpenLoop
from benchmark.commands.session import Command, as_command

MEASURE: dict[str, type[Command]] = {
    "run": Run,
    "ladder": Ladder,
    "open-loop": OpenLoop,
    "capacity": Capacity,
    "head-of-line-blocking": HeadOfLineBlocking,
    "batch-timeline": BatchTimeline,
    "soak": Soak,
    "offline-throughput": OfflineThroughput,
    "roofline": Roofline,
    "compare": Compare,
}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measure the servers over HTTP, keep every request, and draw charts from the kept files.",
)
for name, kind in MEASURE.items():
    app.command(name)(as_command(kind))
for function in (plot, report, readme):
    app.command()(function)

if __name__ == "__main__":
    sys.exit(app())
