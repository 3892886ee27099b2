"""`python -m benchmark capacity|batch-timeline|soak|offline-throughput|roofline`."""

from dataclasses import dataclass
from typing import Annotated

import typer

from benchmark.commands import options
from benchmark.commands.draw import draw_experiments
from benchmark.commands.output import console, fail, print_line
from benchmark.commands.session import RunOptions, ServerOptions, cores_within_quota
from benchmark.experiments import batch_timeline as timeline
from benchmark.experiments import soak as soaking
from benchmark.experiments.capacity import FOLDER as CAPACITY_FOLDER
from benchmark.experiments.capacity import Slo, format_capacity, measure_capacity
from benchmark.experiments.capacity_search import Bounds
from benchmark.measure.configurations import default_configuration
from benchmark.runs.records import SERVERS, TASKS, write_json
from benchmark.stats.formatting import rich_table

MAX_MEMORY_GROWTH = 0.02


@dataclass(frozen=True, kw_only=True)
class Capacity(ServerOptions):
    """Search the highest rate within a p95 limit.

    Arrivals are Poisson; latency counts from the scheduled send. A rate fails if 0.1 % of the
    requests get no correct answer. Steps last longer than --duration where a p95 needs more requests.
    """

    servers: options.Servers = SERVERS
    tasks: options.Tasks = TASKS
    slo_sentiment_ms: Annotated[int, typer.Option(min=1, help="Limit of sentiment's p95.")] = 250
    slo_translation_ms: Annotated[int, typer.Option(min=1, help="Limit of translation's p95.")] = 1000
    start_rps: Annotated[float, typer.Option(min=0.1, help="First rate.")] = 8.0
    max_steps: Annotated[int, typer.Option(min=1, help="Most rates to try per server.")] = 14
    duration: options.Duration = 15.0
    warmup: options.Warmup = 3.0

    def run(self) -> None:
        slos = {"sentiment": Slo(self.slo_sentiment_ms), "translation": Slo(self.slo_translation_ms)}
        bounds = Bounds(self.start_rps, max_steps=self.max_steps)
        with self.run_folder("capacity") as folder:
            for task in self.tasks:
                for server in self.servers:
                    target = self.target(server, task, folder / CAPACITY_FOLDER)
                    record = measure_capacity(
                        target, slos[task], bounds, self.duration, self.warmup, self.seed, print_line
                    )
                    print_line(format_capacity(record))
            draw_experiments(folder)


@dataclass(frozen=True, kw_only=True)
class BatchTimeline(ServerOptions):
    """Draw the sequences of a running batch.

    Traces translations of dynamic_batching, with continuous and with request batching.
    """

    users: options.Users = 50
    duration: options.Duration = 8.0

    def run(self) -> None:
        with self.run_folder("batch-timeline") as folder:
            target = self.target("dynamic_batching", timeline.TASK, folder / timeline.FOLDER)
            for batching in timeline.BATCHINGS:
                print_line(f"{batching} batching, {self.users} users, {self.duration:g} s")
                timeline.record_trace(target, batching, self.users, self.duration, self.seed)
            draw_experiments(folder)


@dataclass(frozen=True, kw_only=True)
class Soak(ServerOptions):
    """Check that a server leaks nothing.

    Sends many requests in a row. Fails if memory grows by over 2 % after the first tenth of them, an answer
    is wrong, or a slot stays occupied.
    """

    server: options.Server = "dynamic_batching"
    task: options.Task = "translation"
    requests: Annotated[int, typer.Option(min=100, help="Answers to wait for.")] = 50_000
    users: options.Users = 50

    def run(self) -> None:
        with self.run_folder("soak") as folder:
            target = self.target(self.server, self.task, folder / soaking.FOLDER)
            record = soaking.soak(target, self.requests, self.users, self.seed, print_line)
            figures = record["figures"]
            print_line(soaking.summary(figures))
            print_line(target.record_path)
            left = {key: figures[key] for key in ("occupied_slots_after", "pending_after") if figures[key]}
            if left or figures["wrong"] or figures["rss_growth"] > MAX_MEMORY_GROWTH:
                raise fail(
                    f"memory grew by {figures['rss_growth']:.1%} (limit {MAX_MEMORY_GROWTH:.0%}), "
                    f"{figures['wrong']} wrong answers, left behind: {left or 'nothing'}"
                )


@dataclass(frozen=True, kw_only=True)
class OfflineThroughput(RunOptions):
    """Measure one core without a server.

    Computes a task in process, by batch size: the throughput that a server is compared with.
    """

    tasks: options.Tasks = TASKS
    batch_sizes: options.BatchSizes = (1, 2, 4, 8, 16, 32, 64)
    seconds: Annotated[float, typer.Option(min=0.01, help="Measured seconds per batch size.")] = 5.0

    def run(self) -> None:
        from benchmark.experiments import offline_throughput as offline

        with self.run_folder("offline-throughput") as folder:
            cores = cores_within_quota(None)
            models = default_configuration("dynamic_batching", self.models, self.manifest)
            measured = (self.tasks, models, cores, self.batch_sizes, self.seconds)
            record = offline.measure_tasks(*measured, print_line)
            for task, figures in record["tasks"].items():
                console.print(offline.table(task, figures))
            write_json(folder / offline.FILE, record)
            print_line(folder / offline.FILE)


@dataclass(frozen=True, kw_only=True)
class Roofline(RunOptions):
    """Compare operators with their roofline.

    Measures what this CPU does at most, and each operator of the native kernels on the load's texts.
    """

    tasks: options.Tasks = TASKS
    slots: Annotated[int, typer.Option(min=1, help="Sequences of a decoding step, texts of a batch.")] = 64

    def run(self) -> None:
        from benchmark.experiments import roofline
        from benchmark.report.roofline import operator_rows

        with self.run_folder("roofline") as folder:
            models = default_configuration("dynamic_batching", self.models, self.manifest)
            record = roofline.measure_tasks(self.tasks, models, cores_within_quota(None), self.slots)
            for task, content in record["tasks"].items():
                console.print(rich_table(operator_rows(content), task))
            write_json(folder / roofline.FILE, record)
            print_line(folder / roofline.FILE)
