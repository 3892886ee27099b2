"""`python -m benchmark batch-timeline`: draws the life of the texts in a running batch."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import TOO_HIGH, console, manifest_of, measured_cores, plainly
from benchmark.runs.records import RunFiles


def batch_timeline(
    users: Annotated[int, typer.Option(min=1, max=TOO_HIGH, help="Of the closed loop.")] = 50,
    duration: Annotated[float, typer.Option(min=2, help="Seconds of load.")] = 8.0,
    seed: Annotated[int, typer.Option(help="Of the texts' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Traces translations of dynamic_batching, decoded in slots and then batch by batch, and draws both."""
    manifest = manifest_of(models)

    from benchmark.charts.draw import draw_beside_cells
    from benchmark.experiments.batch_timeline import BATCHINGS, FOLDER, TASK, record_trace
    from benchmark.measure.target import Target

    run = results / (name or run_name("batch-timeline", manifest))
    with measured(results):
        target = Target(
            "dynamic_batching", TASK, run / FOLDER, models, manifest, measured_cores(server_cores)
        )
        for batching in BATCHINGS:
            plainly(f"{batching} batching, {users} users, {duration:g} s")
            record_trace(target, batching, users, duration, seed)
        for path in draw_beside_cells(RunFiles(run)):
            console.print(path, highlight=False, soft_wrap=True)
