"""Command line: `python -m benchmark run|open-loop|ceiling|plot|report|readme`."""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.options import (
    TOO_HIGH,
    chosen,
    console,
    fail,
    manifest_of,
    one_of,
    plainly,
    positive_numbers,
    user_counts,
    workload_pairs,
)
from benchmark.plan import Cores, Plan
from benchmark.records import SERVERS, TASKS, RunFiles, RunNotFound

RESULTS = Path("results")
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measures the servers over HTTP, keeps every request, and draws charts from the kept files.",
)


@app.command()
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


@app.command("open-loop")
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

    from benchmark.open_loop import Offer, OpenLoop
    from benchmark.open_loop_figures import recovery_line, table
    from benchmark.processes import ProcessFailed

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
    name = name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-open-loop-{manifest['source']}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measured = OpenLoop(offer, results / name, models, manifest, Cores.split(server_cores), plainly)
        record = measured.run()
    except KeyboardInterrupt:
        console.print("\nstopped; the rates measured so far stay")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    console.print(table(record))
    plainly(recovery_line(record))
    plainly(f"{measured.folder / measured.name}.json")


@app.command()
def ceiling(
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    batch_sizes: Annotated[str, typer.Option(help="Texts a batch, comma-separated.")] = "1,2,4,8,16,32,64",
    seconds: Annotated[float, typer.Option(min=0.01, help="Measured seconds of a batch size.")] = 5.0,
    window: Annotated[int, typer.Option(min=1, max=TOO_HIGH, help="Texts that wait in the queue.")] = 100,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """What one core does of a task without HTTP, by batch size: the figure that served ones are held to."""
    sizes = tuple(int(size) for size in positive_numbers(batch_sizes, "--batch-sizes"))
    if min(sizes) < 1:
        raise typer.BadParameter("each should be at least 1", param_hint="--batch-sizes")
    wanted = chosen(tasks, TASKS, "--tasks")
    manifest = manifest_of(models)

    from benchmark.ceiling import Measurement, measure_tasks, table
    from benchmark.processes import ProcessFailed

    name = name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-ceiling-{manifest['source']}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measurement = Measurement(models, manifest, Cores.split(), sizes, seconds, window)
        path, record = measure_tasks(measurement, wanted, results / name, plainly)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing was written")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    for task, found in record["tasks"].items():
        console.print(table(task, found))
    plainly(path)


@app.command()
def plot(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; the latest unless given.")] = None,
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Draws the charts of a run from its files."""
    from benchmark.plots import draw_all

    for path in draw_all(opened(run, results)):
        console.print(path, highlight=False, soft_wrap=True)


@app.command()
def report(
    run: Annotated[Path | None, typer.Argument(help="A run's folder; the latest unless given.")] = None,
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Writes a run's report, one self-contained HTML page, from its files."""
    from benchmark.report import write_report

    console.print(write_report(opened(run, results)), highlight=False, soft_wrap=True)


@app.command()
def readme() -> None:
    """Writes the README's figures and chart from the latest run in results/reference."""
    from benchmark.readme import write_readme

    try:
        changed = write_readme()
    except RunNotFound as error:
        raise fail(error) from None
    console.print("README.md " + ("rewritten" if changed else "is up to date"))


def opened(run: Path | None, results: Path) -> RunFiles:
    try:
        return RunFiles.open(run) if run else RunFiles.latest(results)
    except RunNotFound as error:
        raise fail(error) from None


def draw(files: RunFiles) -> None:
    from benchmark.plots import draw_all
    from benchmark.report import write_report

    console.print("drawing ...")
    draw_all(files)
    console.print(
        f"charts: {files.folder / 'charts'}\nreport: {write_report(files)}", highlight=False, soft_wrap=True
    )


if __name__ == "__main__":
    sys.exit(app())
