"""`python -m benchmark head-of-line-blocking`: what a few long texts do to the many short ones."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import TOO_HIGH, manifest_of, measured_cores, one_of, plainly
from benchmark.runs.records import SERVERS


def head_of_line_blocking(
    server: Annotated[str, typer.Option(help=f"One of {', '.join(SERVERS)}.")] = "dynamic_batching",
    rate: Annotated[
        float,
        typer.Option(min=0, help="Requests a second; 0: half of what the server can do with the long ones."),
    ] = 0.0,
    long_share: Annotated[float, typer.Option(min=0.01, max=0.5, help="Of the requests.")] = 0.05,
    long_tokens: Annotated[int, typer.Option(min=2, help="Source tokens of a long text, about.")] = 200,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Rounds with and without the long ones.")] = 3,
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of each.")] = 20.0,
    warmup: Annotated[float, typer.Option(min=0, help="Seconds of the same load before measuring.")] = 3.0,
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
    """Translations at one rate, without and with a share of long texts: p95 of the short ones in both."""
    one_of(server, SERVERS, "--server")
    manifest = manifest_of(models)

    from benchmark.experiments.closed_loop_capacity import closed_loop_rps
    from benchmark.experiments.head_of_line_blocking import (
        FOLDER,
        TASK,
        Mix,
        measure_mix,
        texts_in_a_long_one,
    )
    from benchmark.measure.target import Target

    folder = results / (name or run_name("head-of-line-blocking", manifest)) / FOLDER
    with measured(results):
        target = Target(server, TASK, folder, models, manifest, measured_cores(server_cores))
        folder.mkdir(parents=True, exist_ok=True)
        with target.with_cache():
            if not rate:
                texts_a_request = 1 + long_share * (texts_in_a_long_one(target, long_tokens) - 1)
                rate = closed_loop_rps(target, probe_users, probe_s, warmup, seed) / texts_a_request / 2
            offered = Mix(rate, long_share, long_tokens, repeats, duration, warmup, 10_000, seed)
            found = measure_mix(target, offered, plainly)["figures"]
    if found["p95_ratio"] is None:
        plainly("too few requests for a p95: a longer --duration gives more")
    else:
        plainly(
            f"p95 of the short texts at {rate:.1f} requests a second: {found['short_p95_ms']:,.0f} ms "
            f"without long ones, {found['mixed_p95_ms']:,.0f} ms among them ({found['p95_ratio']:.2f} times)"
        )
    plainly(folder / f"{target.name}.json")
