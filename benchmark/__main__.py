"""Command line: `python -m benchmark COMMAND`; `--help` lists the commands."""

import sys

import typer

from benchmark.commands.closed_loop import ladder, run
from benchmark.commands.compare import compare
from benchmark.commands.draw import plot, readme, report
from benchmark.commands.experiments import batch_timeline, capacity, offline_throughput, soak
from benchmark.commands.open_loop import head_of_line_blocking, open_loop, overload
from benchmark.commands.session import grouped

MEASURE = (run, ladder, open_loop, overload, capacity, head_of_line_blocking, batch_timeline, soak)
READ = (plot, report, compare, readme)

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measure the servers over HTTP, keep every request, and draw charts from the kept files.",
)
for command in (*MEASURE, offline_throughput, *READ):
    app.command()(grouped(command))

if __name__ == "__main__":
    sys.exit(app())
