"""Command line: `python -m chaos`."""

import json
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
from chaos.plan import SERVERS, Plan
from chaos.run import run
from chaos.summary import record, table

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
    """Send servers malformed, slow and aborted requests while faults are injected.

    Fails unless every answer is correct.
    """
    records = []
    with where.session("chaos") as session:
        folder = session.folder
        folder.mkdir(parents=True, exist_ok=True)
        for server in servers:
            say = partial(say_of, server)
            result = run(Plan(server, requests, clients, seed), session.models, folder / f"{server}.log", say)
            records.append(record(result))
            (folder / f"{server}.json").write_text(json.dumps(records[-1], indent=1) + "\n")
            say("passed" if records[-1]["passed"] else "FAILED")
        console.print(table(records))
        with (folder / "summary.txt").open("w") as file:
            Console(file=file, width=150).print(table(records))
        environment = {"models": session.manifest["source"], **environment_record(Cores.split(None), {})}
        (folder / "environment.json").write_text(json.dumps(environment, indent=1) + "\n")
        for found in records:
            for line in found["first_breaches"]:
                print_line(f"{found['plan']['server']}: {line}")
        print_line(folder)
    if not all(found["passed"] for found in records):
        raise typer.Exit(1)


def say_of(server: str, line: str) -> None:
    print_line(f"{server}: {line}")


if __name__ == "__main__":
    sys.exit(app())
