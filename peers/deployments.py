"""Command line: `python -m peers.deployments`: one server on one core, on all, and behind Ray Serve.

results/<run>/deployments.json   of each task a row a deployment, what all cores do in one process without
                                 HTTP, and the event loop's CPU time a request
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer

from benchmark.commands import options
from benchmark.commands.closed_loop import ClosedLoopOptions
from benchmark.commands.output import console, print_line
from benchmark.commands.session import as_command, cores_within_quota
from benchmark.experiments.offline_throughput import measure_tasks
from benchmark.measure.closed_loop import closed_loop_options
from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS, Configuration, default_configuration
from benchmark.measure.processes import ProcessFailed, Server
from benchmark.measure.target import Target
from benchmark.report.peers import deployment_rows
from benchmark.runs.plan import Plan
from benchmark.runs.records import Cell, RunFiles, write_json
from benchmark.stats.formatting import rich_table
from benchmark.stats.repeats import COMPARED, Repeats, compare, repeats_of
from peers.environments import install
from peers.ray_serve import REQUIREMENTS, RayServer, serve_config
from peers.servers.systems import OURS

FILE = KIND = "deployments"
ONE_CORE, ALL_CORES, RAY_SERVE = "one_core", "all_cores", "ray_serve"
RPS, _, P95 = COMPARED
WORKLOAD = ("unique", 1)
# Of the measurement in process.
BATCH_SIZE = 64

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True)
class OnAllCores(Configuration):
    """On `all_cores`, the load's among them, which leaves the server most of it."""

    all_cores: tuple[int, ...] = ()

    def start(
        self, port: int, cores: tuple[int, ...], log_path: Path, environment: Mapping[str, str | None]
    ) -> Server:
        return super().start(port, self.all_cores, log_path, environment)


@dataclass(frozen=True)
class OnRayServe(Configuration):
    """A replica on the server's cores; Ray's own processes, its proxy among them, on `ray_cores`."""

    ray_cores: tuple[int, ...] = ()

    def start(
        self, port: int, cores: tuple[int, ...], log_path: Path, environment: Mapping[str, str | None]
    ) -> Server:
        config = serve_config(port, num_replicas=1, ray_actor_options={"num_cpus": len(cores)})
        return RayServer(port, self.ray_cores, log_path, environment, config, cores)


@dataclass(frozen=True, kw_only=True)
class Deployments(ClosedLoopOptions):
    """Measure dynamic_batching on one core, on all cores, and as a replica of Ray Serve, in turns.

    The load and Ray's proxy have the last core, which the server shares only where it has all cores. The same
    command with --name resumes an interrupted run.
    """

    server_cores: options.ServerCores = 1
    users: options.UserCounts = (50,)
    duration: options.Duration = 10.0
    repeats: options.Repeats = 5
    in_process: Annotated[float, typer.Option(min=0.01, help="Seconds of a turn in process.")] = 3.0

    def run(self) -> None:
        with self.run_folder(KIND, resumable=True) as folder:
            install(REQUIREMENTS)
            files, plan = RunFiles(folder), self.plan(Plan, (ONE_CORE, ALL_CORES, RAY_SERVE), (WORKLOAD,))
            known = self.configurations()
            failed = self.measure(files, plan, known, kind=KIND)
            usable = cores_within_quota(None)
            in_process = measure_tasks(
                plan.tasks, known[ONE_CORE], usable, (BATCH_SIZE,), self.in_process, print_line
            )
            tasks = {
                task: {
                    "model": known[ONE_CORE].model(task),
                    "in_process": in_process["tasks"][task].get("scaling"),
                    "tokens_a_text": tokens_a_text(in_process["tasks"][task]["best"]),
                    "event_loop_ms": self.event_loop_ms(files, plan, known[ONE_CORE], task),
                    "deployments": [*rows(files, plan, task)],
                }
                for task in plan.tasks
            }
            record = {"environment": files.read_run()["environment"], "plan": plan.as_json(), "tasks": tasks}
            write_json(folder / f"{FILE}.json", record)
            for task, content in tasks.items():
                console.print(rich_table(deployment_rows(content), task))
            print_line(folder / f"{FILE}.json")
            if failed:
                raise failed

    def configurations(self) -> dict[str, Configuration]:
        one_core = default_configuration(OURS, self.models, self.manifest)
        common = one_core.server, one_core.models_dir, one_core.manifest, one_core.cached
        usable = cores_within_quota(None)
        return {
            ONE_CORE: one_core,
            ALL_CORES: OnAllCores(*common, all_cores=usable.server + usable.load),
            RAY_SERVE: OnRayServe(*common, ray_cores=self.cores.load),
        }

    def event_loop_ms(self, files: RunFiles, plan: Plan, one_core: Configuration, task: str) -> float:
        """CPU time of the server's main thread, which runs the event loop, a request: more a core cannot do.

        Raises:
            ProcessFailed: no request was answered.
        """
        target = Target(one_core, task, files.folder / KIND, self.cores, files.folder / "logs")
        load = closed_loop_options(plan, Cell(OURS, task, *WORKLOAD, max(plan.users), 1))
        with target.serving(task, **CLOSED_LOOP_SETTINGS) as server:
            before_s = main_thread_s(server.pid)
            target.load(server, task, load)
            spent_s = main_thread_s(server.pid) - before_s
        answered = int(target.read_requests(task)["ok"].sum())
        if not answered:
            raise ProcessFailed(f"{target.name}: no request was answered")
        return spent_s / answered * 1e3


def tokens_a_text(in_process: dict[str, Any]) -> float:
    """Mean source tokens of the load's texts, special tokens included."""
    return in_process["source_tokens_per_s"] / in_process["texts_per_s"]


def main_thread_s(pid: int) -> float:
    threads = {thread.id: thread for thread in psutil.Process(pid).threads()}
    return threads[pid].user_time + threads[pid].system_time


def rows(files: RunFiles, plan: Plan, task: str) -> Iterator[dict[str, Any]]:
    """A row a deployment at the highest number of users that has valid cells of it and of one core."""
    repeats = repeats_of(files)
    for name in plan.servers:
        for users in sorted(plan.users, reverse=True):
            of_one, valid = (repeats.get(Cell(one, task, *WORKLOAD, users, 0)) for one in (ONE_CORE, name))
            if of_one and valid:
                yield {"name": name, "users": users, **figures(of_one, valid)}
                break


def figures(of_one: Repeats, valid: Repeats) -> dict[str, Any]:
    """Medians over the rounds; requests a second over those of one core, by rounds."""

    def middle(key: str) -> float | None:
        values = [record["figures"][key] for record in valid.records.values()]
        return None if None in values else median(values)

    compared = compare(of_one, valid, RPS)
    interval = compared.ratio.interval if compared else None
    keys = (RPS.key, P95.key, "server_cpu_percent", "load_cpu_percent", "rss_peak_bytes", "cold_start_s")
    return {
        **{key: middle(key) for key in keys},
        "rounds": len(valid.records),
        "ratio": compared.ratio.value if compared else None,
        "ratio_low": interval.low if interval else None,
        "ratio_high": interval.high if interval else None,
    }


app.command()(as_command(Deployments))

if __name__ == "__main__":
    sys.exit(app())
