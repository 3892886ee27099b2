"""Command line: `python -m chaos`."""

import sys
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from benchmark.commands import options
from benchmark.commands.output import console, print_line
from benchmark.commands.session import RunOptions, grouped
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import SERVERS, write_json
from chaos.plan import Plan
from chaos.run import run
from chaos.summary import make_record, make_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
@grouped
def chaos(
    where: RunOptions,
    servers: options.Servers = SERVERS,
    requests: Annotated[int, typer.Option(min=100, help="Requests to send to each server.")] = 10_000,
    clients: Annotated[int, typer.Option(min=1, max=options.MAX, help="Concurrent clients.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the requests and of the order of faults.")] = 0,
) -> None:
    """Send malformed, slow and aborted requests while faults are injected, and check every response."""
    records = []
    with where.session("chaos") as session:
        folder = session.folder
        environment = environment_record(Cores.split(None), {})
        write_json(folder / "environment.json", {"models": session.manifest["source"], **environment})
        for server in servers:
            print_progress = partial(print_line_of, server)
            plan = Plan(server, requests, clients, seed)
            result = run(plan, session.models, folder / f"{server}.log", print_progress)
            records.append(make_record(result))
            write_json(folder / f"{server}.json", records[-1])
            for violation in records[-1]["first_violations"]:
                print_progress(violation)
        console.print(make_table(records))
        with (folder / "summary.txt").open("w") as file:
            Console(file=file, width=150).print(make_table(records))
        print_line(folder)
    if not all(record["passed"] for record in records):
        raise typer.Exit(1)


def print_line_of(server: str, line: str) -> None:
    print_line(f"{server}: {line}")


if __name__ == "__main__":
    sys.exit(app())
