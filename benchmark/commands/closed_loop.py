"""`python -m benchmark run|ladder`: measure cells under closed-loop load; both can be resumed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from benchmark.commands import options
from benchmark.commands.draw import draw_run
from benchmark.commands.output import console, fail, print_line
from benchmark.commands.session import ServerOptions, read_manifest
from benchmark.experiments.ladder import APART, CLIMB, KIND, NATIVE, LadderPlan, Models, configurations
from benchmark.experiments.ladder_figures import ladder_of, table, write_ladder
from benchmark.measure.configurations import CACHED_SERVERS, PREPARE, Configuration, default_configuration
from benchmark.measure.progress import summary_table
from benchmark.measure.redis_server import NO_REDIS, has_redis
from benchmark.measure.runner import MAX_FAILED_CELLS, CellsFailed, Runner
from benchmark.runs.plan import Plan
from benchmark.runs.records import TASKS, RunFiles
from benchmark.runs.reuse_baseline import reuse_baseline
from model_export.manifest import float32_folder

AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True, kw_only=True)
class ClosedLoopOptions(ServerOptions):
    """Which cells are measured, and for how long."""

    tasks: options.Tasks = TASKS
    users: options.UserCounts = (10, 50, 100)
    duration: options.Duration = 20.0
    max_duration: options.MaxDuration = None
    repeats: options.Repeats = 1
    warmup: options.Warmup = 3.0
    settle: options.Settle = 120.0
    load_generator_limit: options.LoadGeneratorLimit = 3.0

    def plan(
        self, kind: type[AnyPlan], servers: tuple[str, ...], workloads: tuple[tuple[str, int], ...]
    ) -> AnyPlan:
        return kind(
            servers=servers,
            tasks=tuple(self.tasks),
            workloads=workloads,
            users=tuple(sorted(self.users)),
            repeats=self.repeats,
            duration_s=self.duration,
            warmup_s=self.warmup,
            settle_s=self.settle,
            seed=self.seed,
            max_duration_s=max(self.duration, self.max_duration or 3 * self.duration),
            load_generator_limit_s=self.load_generator_limit,
        )

    def measure(
        self,
        files: RunFiles,
        plan: Plan,
        known: Mapping[str, Configuration] | None = None,
        max_failed_cells: int = MAX_FAILED_CELLS,
        **facts: Any,
    ) -> CellsFailed | None:
        """Measures the missing cells of a run; returns the failure of some, but not over `max_failed_cells`.

        A new run.json has `facts` in it. A run of the same name must have the same plan and models; its
        failed cells are measured again.
        """
        defaults = {one: default_configuration(one, self.models, self.manifest) for one in plan.servers}
        runner = Runner(plan, files, known or defaults, self.cores, max_failed_cells)
        if (files.folder / "run.json").is_file():
            resume(files, plan, self.manifest, runner.environment["commit"])
        else:
            started_at = datetime.now(UTC).isoformat(timespec="seconds")
            record = {"name": files.folder.name, "started_at": started_at, **facts, "plan": plan.as_json()}
            files.write_run({**record, "environment": runner.environment, "models": self.manifest})
        try:
            runner.run()
        except CellsFailed as failed:
            return failed
        return None


def resume(files: RunFiles, plan: Plan, manifest: dict[str, Any], commit: str) -> None:
    """Removes the failed cells of a run; ends the command where the run has another plan or other models."""
    name, earlier = files.folder.name, files.read_run()
    if type(plan).from_json(earlier["plan"]) != plan:
        raise fail(f"run {name} has another plan ({earlier['plan']}); use a new name")
    if earlier["models"] != manifest:
        raise fail(f"run {name} measured other models; use a new name")
    if (before := earlier["environment"]["commit"]) != commit:
        print_line(f"warning: run {name} started at commit {before}, this is {commit}")
    for path in files.cells_folder.glob("*.json"):
        if json.loads(path.read_text())["status"] == "failed":
            path.unlink()
    print_line(f"resuming run {name}")


@dataclass(frozen=True, kw_only=True)
class Run(ClosedLoopOptions):
    """Measure servers under closed-loop load.

    Measures each server, task, workload and number of users (a cell), then draws charts and a report. The
    same command with --name resumes an interrupted run.
    """

    servers: options.Servers = ("baseline",)
    workloads: options.Workloads = (("unique", 1),)
    charts: options.Charts = True

    def run(self) -> None:
        plan = self.plan(Plan, tuple(self.servers), tuple(self.workloads))
        with self.run_folder("-".join(self.servers), resumable=True) as folder:
            files = RunFiles(folder)
            for server in set(self.servers) & set(CACHED_SERVERS):
                if not has_redis():
                    print_line(f"{server} runs without its cache: {NO_REDIS}")
            failed = self.measure(files, plan)
            if reused := reuse_baseline(files, self.results):
                print_line(reused)
            cells = [record["cell"] | record | record["figures"] for record in files.read_cells()]
            console.print(summary_table(cells))
            if self.charts:
                draw_run(files)
            if failed:
                raise failed


@dataclass(frozen=True, kw_only=True)
class Ladder(ClosedLoopOptions):
    """Measure each engineering decision alone.

    Measures one configuration per decision, from the baseline to the fastest server. Its models must be
    prepared with --float32. The same command with --name resumes an interrupted run.
    """

    users: options.UserCounts = (50,)
    max_duration: options.MaxDuration = 120.0
    repeats: options.Repeats = 3
    charts: options.Charts = True

    def run(self) -> None:
        with self.run_folder(KIND, resumable=True) as folder:
            known = configurations(*self.model_folders())
            plan = self.plan(LadderPlan, tuple(known), ((CLIMB, 1), (APART, 1)))
            files = RunFiles(folder)
            failed = self.measure(files, plan, known, kind=KIND)
            steps = ladder_of(files)
            console.print(table(steps))
            print_line(write_ladder(files, steps))
            if self.charts:
                draw_run(files)
            if failed:
                raise failed

    def model_folders(self) -> tuple[Models, Models, Models]:
        """INT8, INT8 on ONNX Runtime's kernels, float32; ends the command where one is missing."""
        int8 = Models(self.models, self.manifest)
        float32_dir = float32_folder(self.models)
        if not (float32_dir / "manifest.json").is_file():
            raise fail(f"{float32_dir} is missing; {PREPARE.format(self.models)} --float32`")
        other_dir = self.models.with_name(f"{self.models.name}-onnxruntime")
        other = Models(other_dir, read_manifest(other_dir)) if int8.kernels == NATIVE else int8
        if other.kernels == NATIVE:
            raise fail(f"{other.folder} is prepared for native kernels, not for ONNX Runtime's")
        return int8, other, Models(float32_dir, read_manifest(float32_dir))
