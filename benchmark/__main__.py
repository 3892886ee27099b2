"""Command line: `python -m benchmark COMMAND`; `--help` lists the commands."""

import sys

import typer

from benchmark.commands.batch_timeline import batch_timeline
from benchmark.commands.capacity import capacity
from benchmark.commands.compare import compare
from benchmark.commands.draw import plot, readme, report
from benchmark.commands.head_of_line_blocking import head_of_line_blocking
from benchmark.commands.ladder import ladder
from benchmark.commands.offline_throughput import offline_throughput
from benchmark.commands.open_loop import open_loop
from benchmark.commands.overload import overload
from benchmark.commands.run import run
from benchmark.commands.soak import soak

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measures the servers over HTTP, keeps every request, and draws charts from the kept files.",
)
app.command()(run)
app.command()(ladder)
app.command("open-loop")(open_loop)
app.command()(capacity)
app.command()(overload)
app.command("head-of-line-blocking")(head_of_line_blocking)
app.command("batch-timeline")(batch_timeline)
app.command()(soak)
app.command("offline-throughput")(offline_throughput)
app.command()(plot)
app.command()(report)
app.command()(compare)
app.command()(readme)

if __name__ == "__main__":
    sys.exit(app())
