"""`python -m benchmark run`: measures a plan of cells, and draws what it found."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.draw import draw
from benchmark.commands.options import (
    chosen,
    console,
    manifest_of,
    measured_cores,
    user_counts,
    workload_pairs,
)
from benchmark.runs.plan import Plan
from benchmark.runs.records import SERVERS, TASKS, RunFiles


def run(
    servers: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(SERVERS)}.")] = "baseline",
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    users: Annotated[str, typer.Option(help="Levels of concurrent users.")] = "10,50,100",
    workloads: Annotated[
        str, typer.Option(help="unique, zipf, paragraph; unique:16 is batches of 16 texts.")
    ] = "unique",
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a cell.")] = 20.0,
    max_duration: Annotated[
        float | None,
        typer.Option(min=1, help="Longest window of a cell that has too few answers or is unstable."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Rounds over all cells.")] = 1,
    warmup: Annotated[float, typer.Option(min=0, help="Least seconds of load before measuring.")] = 3.0,
    settle: Annotated[
        float, typer.Option(min=0, help="Longest wait in seconds for every user's first answer.")
    ] = 120.0,
    client_ceiling: Annotated[
        float,
        typer.Option(min=0, help="Seconds to measure the load generator's own limit at each level."),
    ] = 3.0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the server; 0: a free one.")] = 0,
    name: Annotated[str, typer.Option(help="Of the run; an unfinished run of that name goes on.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
    charts: Annotated[bool, typer.Option(help="Draw charts and report at the end.")] = True,
) -> None:
    """Measures a plan of cells, then draws its charts and report. Interrupted, it goes on with --name."""
    plan = Plan(
        servers=chosen(servers, SERVERS, "--servers"),
        tasks=chosen(tasks, TASKS, "--tasks"),
        workloads=workload_pairs(workloads),
        users=user_counts(users),
        repeats=repeats,
        duration_s=duration,
        warmup_s=warmup,
        settle_s=settle,
        max_duration_s=3 * duration if max_duration is None else max(duration, max_duration),
        client_ceiling_s=client_ceiling,
    )
    manifest = manifest_of(models)

    from benchmark.commands.session import begin, go_through, one_line_errors
    from benchmark.measure.configurations import CACHED_SERVERS
    from benchmark.measure.progress import summary_table
    from benchmark.measure.redis_server import NO_REDIS
    from benchmark.measure.runner import Runner
    from benchmark.runs.reuse_baseline import reuse_baseline

    started = datetime.now(UTC)
    name = name or f"{started:%Y-%m-%dT%H-%M-%S}-{'-'.join(plan.servers)}-{manifest['source']}"
    files = RunFiles(results / name)
    runner = Runner(plan, files, models, manifest, measured_cores(server_cores), port)
    again = f"--name {name} (make: RUN={name})"
    for server, used in runner.configurations.items():
        if server in CACHED_SERVERS and not used.cached:
            console.print(f"{server} runs without its cache: {NO_REDIS}", soft_wrap=True)
    with one_line_errors(files, again):
        begin(files, plan, started, manifest, runner.environment)
        failed = go_through(runner)
        beside = reuse_baseline(files, results)
        if beside:
            console.print(beside, soft_wrap=True)
        console.print(
            summary_table([record["cell"] | record | record["figures"] for record in files.read_cells()])
        )
        if charts:
            draw(files)
        if failed:
            raise failed
