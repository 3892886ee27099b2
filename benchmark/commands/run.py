"""`python -m benchmark run`: measures a plan of cells, and draws what it found."""

import json
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.commands import RESULTS
from benchmark.commands.draw import draw
from benchmark.options import (
    chosen,
    console,
    fail,
    manifest_of,
    user_counts,
    workload_pairs,
)
from benchmark.plan import Cores, Plan
from benchmark.records import SERVERS, TASKS, RunFiles, RunNotFound


def run(
    servers: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(SERVERS)}.")] = "baseline",
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    users: Annotated[str, typer.Option(help="Levels of concurrent users.")] = "10,50,100",
    workloads: Annotated[
        str, typer.Option(help="unique, zipf; unique:16 is batches of 16 texts.")
    ] = "unique",
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a cell.")] = 20.0,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Rounds over all cells.")] = 1,
    warmup: Annotated[float, typer.Option(min=0, help="Least seconds of load before measuring.")] = 3.0,
    settle: Annotated[
        float, typer.Option(min=0, help="Longest wait in seconds for every user's first answer.")
    ] = 120.0,
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
    )
    manifest = manifest_of(models)

    from benchmark.borrow import borrow_baseline
    from benchmark.processes import ProcessFailed
    from benchmark.progress import summary_table
    from benchmark.runner import Runner

    started = datetime.now(UTC)
    name = name or f"{started:%Y-%m-%dT%H-%M-%S}-{'-'.join(plan.servers)}-{manifest['source']}"
    files = RunFiles(results / name)
    cores = Cores.split(server_cores)
    runner = Runner(plan, files, models, manifest, cores, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        begin(files, plan, name, started, manifest, runner.environment)
        runner.run()
    except KeyboardInterrupt:
        console.print(
            f"\nstopped; the cells measured so far stay. To go on: --name {name} (make: RUN={name})"
        )
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(
            f"{error}\nthe cells measured so far stay. To go on: --name {name} (make: RUN={name})"
        ) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    beside = borrow_baseline(files, results)
    if beside:
        console.print(beside, soft_wrap=True)
    console.print(
        summary_table([record["cell"] | record | record["figures"] for record in files.read_cells()])
    )
    if charts:
        draw(files)


def begin(
    files: RunFiles,
    plan: Plan,
    name: str,
    started: datetime,
    manifest: dict[str, Any],
    environment: dict[str, Any],
) -> None:
    """Writes run.json, or checks that the unfinished run of this name has the same plan and models."""
    try:
        earlier = RunFiles.open(files.folder).read_run()
    except RunNotFound:
        files.write_run(
            {
                "name": name,
                "started_at": started.isoformat(timespec="seconds"),
                "plan": plan.as_json(),
                "environment": environment,
                "models": manifest,
            }
        )
        return
    if Plan.from_json(earlier["plan"]) != plan:
        raise fail(f"run {name} has another plan ({earlier['plan']}); give it the same options or a new name")
    if earlier["models"] != manifest:
        raise fail(f"run {name} measured other models; give this one a new name")
    failed = [
        path
        for path in files.cells_folder.glob("*.json")
        if json.loads(path.read_text())["status"] == "failed"
    ]
    for path in failed:
        path.unlink()
    console.print(f"going on with run {name}")
