"""`python -m benchmark capacity`: the highest rate at which each server keeps its p95 within a limit."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import chosen, console, manifest_of, measured_cores, plainly
from benchmark.runs.records import SERVERS, TASKS, RunFiles


def capacity(
    servers: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(SERVERS)}.")] = ",".join(
        SERVERS
    ),
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    slo_sentiment_ms: Annotated[int, typer.Option(min=1, help="The limit of sentiment's p95.")] = 250,
    slo_translation_ms: Annotated[int, typer.Option(min=1, help="The limit of translation's p95.")] = 1000,
    start_rps: Annotated[float, typer.Option(min=0.1, help="The first rate.")] = 8.0,
    precision: Annotated[
        float, typer.Option(min=0.01, help="Ends where the next rate measured is nearer than this share.")
    ] = 0.05,
    max_steps: Annotated[int, typer.Option(min=1, help="Of one server.")] = 14,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Of one server; the step at hand ends.")] = 15.0,
    duration: Annotated[
        float, typer.Option(min=1, help="Measured seconds of a step; longer where a p95 needs it.")
    ] = 15.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of the same load before measuring.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals and the texts' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Poisson arrivals, latency from the scheduled send: the highest rate that keeps p95 within the limit.

    Fewer than 0.1 % of the requests may go without a right answer.
    """
    manifest = manifest_of(models)
    limits_ms = {"sentiment": slo_sentiment_ms, "translation": slo_translation_ms}
    chosen_tasks, chosen_servers = chosen(tasks, TASKS, "--tasks"), chosen(servers, SERVERS, "--servers")

    from benchmark.charts.capacity import found_line
    from benchmark.charts.draw import draw_beside_cells
    from benchmark.experiments.capacity import Slo, measure_capacity, new_target
    from benchmark.experiments.capacity_search import Bounds

    bounds = Bounds(start_rps, precision=precision, max_steps=max_steps, max_s=max_minutes * 60)
    run = results / (name or run_name("capacity", manifest))
    with measured(results):
        for task in chosen_tasks:
            for server in chosen_servers:
                target = new_target(server, task, run, models, manifest, measured_cores(server_cores))
                slo = Slo(limits_ms[task])
                record = measure_capacity(target, slo, bounds, duration, warmup, seed, plainly)
                plainly(found_line(record))
        for path in draw_beside_cells(RunFiles(run)):
            console.print(path, highlight=False, soft_wrap=True)
