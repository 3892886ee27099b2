"""`python -m benchmark overload`: each server is offered multiples of what it can do."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import (
    TOO_HIGH,
    chosen,
    console,
    manifest_of,
    measured_cores,
    one_of,
    plainly,
    positive_numbers,
)
from benchmark.runs.records import SERVERS, TASKS, RunFiles


def overload(
    servers: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(SERVERS)}.")] = ",".join(
        SERVERS
    ),
    task: Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")] = "sentiment",
    multiples: Annotated[str, typer.Option(help="Of each server's own capacity.")] = "0.5,1,2,4",
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a rate.")] = 20.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of the same load before measuring.")] = 3.0,
    deadline_ms: Annotated[
        int, typer.Option(min=1, max=600_000, help="Sent as X-Timeout-Ms; later answers are no goodput.")
    ] = 1000,
    recover: Annotated[
        float, typer.Option(min=0, help="Seconds after the highest rate until it must answer as before.")
    ] = 30.0,
    probe_users: Annotated[
        int, typer.Option(min=1, max=TOO_HIGH, help="Of the closed loop that measures the capacity.")
    ] = 50,
    probe_s: Annotated[float, typer.Option(min=1, help="Measured seconds of the closed loop.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals and the texts' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Offers each server multiples of its own capacity, with a deadline: goodput, refusals, recovery."""
    levels = positive_numbers(multiples, "--multiples")
    one_of(task, TASKS, "--task")
    manifest = manifest_of(models)

    from benchmark.charts.draw import draw_beside_cells
    from benchmark.experiments.open_loop import Offer, OpenLoop
    from benchmark.experiments.overload import overload_lines
    from benchmark.stats.open_loop import recovery_line, table

    run = results / (name or run_name("overload", manifest))
    with measured(results):
        for server in chosen(servers, SERVERS, "--servers"):
            plainly(f"{server}, {task}")
            offer = Offer(
                server=server,
                task=task,
                rates=levels,
                multiples=True,
                duration_s=duration,
                warmup_s=warmup,
                deadline_ms=deadline_ms,
                recover_s=recover,
                probe_users=probe_users,
                probe_s=probe_s,
                seed=seed,
            )
            record = OpenLoop(offer, run, models, manifest, measured_cores(server_cores), plainly).run()
            console.print(table(record))
            for line in (*overload_lines(record), recovery_line(record)):
                plainly(line)
        for path in draw_beside_cells(RunFiles(run)):
            console.print(path, highlight=False, soft_wrap=True)
