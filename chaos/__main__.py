"""Command line: `python -m chaos`."""

import json
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from benchmark.commands import RESULTS
from benchmark.commands.options import TOO_HIGH, chosen, console, fail, manifest_of, plainly
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from chaos.plan import SERVERS, Plan
from chaos.run import run
from chaos.summary import record, table


def chaos(
    server: Annotated[str, typer.Option(help=f"all, or some of {', '.join(SERVERS)}.")] = "all",
    requests: Annotated[int, typer.Option(min=100, help="To send to each server.")] = 10_000,
    clients: Annotated[
        int, typer.Option(min=1, max=TOO_HIGH, help="Each one request after the other.")
    ] = 100,
    seed: Annotated[int, typer.Option(help="Of the requests and of the faults' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Of the run's folder; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Sends servers what clients and machines do wrong; fails unless every answer is right all the same."""
    servers = SERVERS if server == "all" else chosen(server, SERVERS, "--server")
    manifest = manifest_of(models)
    folder = results / (name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-chaos-{manifest['source']}")
    records = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in servers:
            plan = Plan(one, requests, clients, seed)
            say = partial(say_of, one)
            result = run(plan, models, folder / f"{one}.log", say)
            records.append(record(result))
            (folder / f"{one}.json").write_text(json.dumps(records[-1], indent=1) + "\n")
            say("passed" if records[-1]["passed"] else "FAILED")
    except (ProcessFailed, httpx.HTTPError) as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    console.print(table(records))
    with (folder / "summary.txt").open("w") as file:
        Console(file=file, width=150).print(table(records))
    (folder / "environment.json").write_text(
        json.dumps({"models": manifest["source"], **environment_record(Cores.split(None), {})}, indent=1)
        + "\n"
    )
    for found in records:
        for line in found["first_breaches"]:
            plainly(f"{found['plan']['server']}: {line}")
    plainly(folder)
    if not all(found["passed"] for found in records):
        raise typer.Exit(1)


def say_of(server: str, line: str) -> None:
    plainly(f"{server}: {line}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(chaos)
    sys.exit(app())
