"""`python -m benchmark capacity|batch-timeline|soak|offline-throughput`."""

from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.draw import draw_experiments
from benchmark.commands.output import console, fail, print_line
from benchmark.commands.session import RunOptions, ServerOptions
from benchmark.experiments import batch_timeline as timeline
from benchmark.experiments import soak as soaking
from benchmark.experiments.capacity import FOLDER as CAPACITY_FOLDER
from benchmark.experiments.capacity import Slo, measure_capacity
from benchmark.experiments.capacity_search import Bounds
from benchmark.experiments.offline_throughput import Measurement, measure_tasks, table
from benchmark.runs.records import SERVERS, TASKS

MAX_MEMORY_GROWTH = 0.02


def capacity(
    run: ServerOptions,
    servers: options.Servers = SERVERS,
    tasks: options.Tasks = TASKS,
    slo_sentiment_ms: Annotated[int, typer.Option(min=1, help="Limit of sentiment's p95.")] = 250,
    slo_translation_ms: Annotated[int, typer.Option(min=1, help="Limit of translation's p95.")] = 1000,
    start_rps: Annotated[float, typer.Option(min=0.1, help="First rate.")] = 8.0,
    precision: Annotated[float, typer.Option(min=0.01, help="Relative step that ends the search.")] = 0.05,
    max_steps: Annotated[int, typer.Option(min=1, help="Most rates to try per server.")] = 14,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Start no step of a server later.")] = 15.0,
    duration: options.Duration = 15.0,
    warmup: options.Warmup = 3.0,
) -> None:
    """Search the highest rate within a p95 limit.

    Arrivals are Poisson; latency counts from the scheduled send. A rate fails if 0.1 % of the
    requests get no correct answer. Steps last longer than --duration where a p95 needs more requests.
    """
    from benchmark.charts.capacity import format_capacity

    slos = {"sentiment": Slo(slo_sentiment_ms), "translation": Slo(slo_translation_ms)}
    bounds = Bounds(start_rps, precision=precision, max_steps=max_steps, max_s=max_minutes * 60)
    with run.session("capacity", run.server_cores) as session:
        for task in tasks:
            for server in servers:
                target = session.target(server, task, CAPACITY_FOLDER)
                record = measure_capacity(target, slos[task], bounds, duration, warmup, run.seed, print_line)
                print_line(format_capacity(record))
        draw_experiments(session.folder)


def batch_timeline(run: ServerOptions, users: options.Users = 50, duration: options.Duration = 8.0) -> None:
    """Draw the sequences of a running batch.

    Traces translations of dynamic_batching, with continuous and with request batching.
    """
    with run.session("batch-timeline", run.server_cores) as session:
        target = session.target("dynamic_batching", timeline.TASK, timeline.FOLDER)
        for batching in timeline.BATCHINGS:
            print_line(f"{batching} batching, {users} users, {duration:g} s")
            timeline.record_trace(target, batching, users, duration, run.seed)
        draw_experiments(session.folder)


def soak(
    run: ServerOptions,
    server: options.Server = "dynamic_batching",
    task: options.Task = "translation",
    requests: Annotated[int, typer.Option(min=100, help="Answers to wait for.")] = 50_000,
    users: options.Users = 50,
) -> None:
    """Check that a server leaks nothing.

    Sends many requests in a row. Fails if memory grows by over 2 % after the first tenth of them, an answer
    is wrong, or a slot stays occupied.
    """
    with run.session("soak", run.server_cores) as session:
        target = session.target(server, task, soaking.FOLDER)
        plan = soaking.Plan(server, task, requests, users, run.seed)
        figures = soaking.soak(plan, target, print_line)["figures"]
        print_line(
            f"{figures['answered']:,} answers in {figures['duration_s']:.0f} s, {figures['wrong']} wrong; "
            f"memory {figures['rss_first_tenth_bytes'] / 1e6:.1f} MB after a tenth, peak "
            f"{figures['rss_peak_bytes'] / 1e6:.1f} MB ({figures['rss_growth']:+.1%}); open files "
            f"{figures['open_files_first_tenth']} after a tenth, peak {figures['open_files_peak']}"
        )
        print_line(target.record_path)
        left = {key: figures[key] for key in ("occupied_slots_after", "pending_after") if figures[key]}
        if left or figures["wrong"] or figures["rss_growth"] > MAX_MEMORY_GROWTH:
            raise fail(
                f"memory grew by {figures['rss_growth']:.1%} (limit {MAX_MEMORY_GROWTH:.0%}), "
                f"{figures['wrong']} wrong answers, left behind: {left or 'nothing'}"
            )


def offline_throughput(
    run: RunOptions,
    tasks: options.Tasks = TASKS,
    batch_sizes: options.BatchSizes = (1, 2, 4, 8, 16, 32, 64),
    seconds: Annotated[float, typer.Option(min=0.01, help="Measured seconds per batch size.")] = 5.0,
) -> None:
    """Measure one core without a server.

    Computes a task in process, by batch size: the throughput that a server is compared with.
    """
    with run.session("offline-throughput") as session:
        sizes = tuple(batch_sizes)
        measurement = Measurement(session.models, session.manifest, session.cores, sizes, seconds)
        path, record = measure_tasks(measurement, tuple(tasks), session.folder, print_line)
        for task, figures in record["tasks"].items():
            console.print(table(task, figures))
        print_line(path)
