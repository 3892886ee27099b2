"""Command line: `python -m benchmark run|plot|report|readme`."""

import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmark.plan import Cores, Plan
from benchmark.records import SERVERS, TASKS, WORKLOADS, RunFiles, RunNotFound

RESULTS = Path("results")
TOO_HIGH = 10_000

# Off a terminal rich assumes 80 columns, which cuts tables in a log.
console = Console(width=None if sys.stdout.isatty() else 150)
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Measures the servers over HTTP, keeps every request, and draws charts from the kept files.",
)


def chosen(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    if not names:
        raise typer.BadParameter(f"names at least one of {', '.join(known)}", param_hint=option)
    return tuple(dict.fromkeys(names))


def user_counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers such as 10,50,100", param_hint="--users"
        ) from None
    if counts[0] < 1 or counts[-1] > TOO_HIGH:
        raise typer.BadParameter(f"each should be from 1 to {TOO_HIGH}", param_hint="--users")
    return counts


def workload_pairs(text: str) -> tuple[tuple[str, int], ...]:
    pairs = []
    for part in text.split(","):
        name, _, size = part.strip().partition(":")
        if name not in WORKLOADS or (size and not (size.isdigit() and 1 <= int(size) <= 64)):
            raise typer.BadParameter(
                f"{part!r} is not {' or '.join(WORKLOADS)}, with :N for batches of N texts (1 to 64)",
                param_hint="--workloads",
            )
        pairs.append((name, int(size or 1)))
    return tuple(dict.fromkeys(pairs))


def fail(message: object) -> typer.Exit:
    console.print(f"error: {message}", style="red", soft_wrap=True, markup=False)
    return typer.Exit(1)


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
    try:
        manifest = json.loads((models / "manifest.json").read_text())
    except (OSError, ValueError):
        raise fail(f"{models} holds no models; `python optimize_model.py` prepares them") from None

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
