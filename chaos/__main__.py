"""Command line: `python -m chaos`."""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from benchmark.commands import options
from benchmark.commands.output import console, print_line
from benchmark.commands.session import RunOptions, as_command
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import SERVERS, write_json
from chaos.plan import Plan
from chaos.run import run
from chaos.summary import make_record, make_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, kw_only=True)
class Chaos(RunOptions):
    """Send malformed, slow and aborted requests while faults are injected, and check every response."""

    servers: options.Servers = SERVERS
    requests: Annotated[int, typer.Option(min=100, help="Requests to send to each server.")] = 10_000
    clients: Annotated[int, typer.Option(min=1, max=options.MAX, help="Concurrent clients.")] = 100
    seed: Annotated[int, typer.Option(help="Seed of the requests and of the order of faults.")] = 0

    def run(self) -> None:
        records = []
        with self.run_folder("chaos") as folder:
            environment = environment_record(Cores.split(None), {})
            write_json(folder / "environment.json", {"models": self.manifest["source"], **environment})
            for server in self.servers:
                print_progress = partial(print_line_of, server)
                plan = Plan(server, self.requests, self.clients, self.seed)
                result = run(plan, self.models, folder / f"{server}.log", print_progress)
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


app.command()(as_command(Chaos))

if __name__ == "__main__":
    sys.exit(app())
