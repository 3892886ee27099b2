"""`python -m benchmark open-loop`: offers a server rates that it cannot hold back."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import (
    TOO_HIGH,
    console,
    manifest_of,
    measured_cores,
    one_of,
    plainly,
    positive_numbers,
)
from benchmark.runs.records import SERVERS, TASKS


def open_loop(
    server: Annotated[str, typer.Option(help=f"One of {', '.join(SERVERS)}.")] = "dynamic_batching",
    task: Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")] = "translation",
    rates: Annotated[str, typer.Option(help="Requests a second to offer, comma-separated.")] = "",
    multiples: Annotated[
        str, typer.Option(help="Instead of --rates: multiples of the capacity that a closed loop measures.")
    ] = "",
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a rate.")] = 20.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of the same load before measuring.")] = 3.0,
    deadline_ms: Annotated[
        int, typer.Option(min=1, max=600_000, help="Sent as X-Timeout-Ms; later answers are no goodput.")
    ] = 2000,
    recover: Annotated[
        float, typer.Option(min=0, help="Seconds after the highest rate until it must answer as before.")
    ] = 60.0,
    probe_users: Annotated[int, typer.Option(min=1, max=TOO_HIGH, help="Of the closed loop.")] = 50,
    probe_s: Annotated[float, typer.Option(min=1, help="Measured seconds of the closed loop.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the arrivals and the texts' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Offers rates whatever the server does: goodput, refusals, latency from the scheduled send, recovery."""
    if bool(rates) == bool(multiples):
        raise typer.BadParameter("give either --rates or --multiples", param_hint="--rates")
    levels = positive_numbers(rates or multiples, "--rates" if rates else "--multiples")
    manifest = manifest_of(models)

    from benchmark.experiments.open_loop import Offer, OpenLoop
    from benchmark.stats.open_loop import recovery_line, table

    offer = Offer(
        server=one_of(server, SERVERS, "--server"),
        task=one_of(task, TASKS, "--task"),
        rates=levels,
        multiples=bool(multiples),
        duration_s=duration,
        warmup_s=warmup,
        deadline_ms=deadline_ms,
        recover_s=recover,
        probe_users=probe_users,
        probe_s=probe_s,
        seed=seed,
    )
    run = results / (name or run_name("open-loop", manifest))
    with measured(results):
        loop = OpenLoop(offer, run, models, manifest, measured_cores(server_cores), plainly)
        record = loop.run()
    console.print(table(record))
    plainly(recovery_line(record))
    plainly(f"{loop.folder / loop.name}.json")
