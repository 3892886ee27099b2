"""Runs a plan: for each cell starts the server, waits until ready, loads it, keeps every request."""

import contextlib
from collections.abc import Mapping
from typing import Any

import psutil

from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS, Configuration
from benchmark.measure.load_generator_limit import LoadGeneratorLimits
from benchmark.measure.process_sampler import ProcessTree
from benchmark.measure.processes import ProcessFailed
from benchmark.measure.progress import Progress
from benchmark.measure.redis_server import redis_url
from benchmark.measure.target import Target
from benchmark.measure.validity import invalid_reasons
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles
from benchmark.stats.figures import stability
from benchmark.stats.formatting import format_count, format_ms

# One server that fails is a result; when the third cell fails, something is wrong with all of them.
MAX_FAILED_CELLS = 3


class CellsFailed(ProcessFailed):
    """Every cell of the plan was tried, and some failed."""


class Runner:
    """Measures the cells of `plan` that `files` does not hold yet.

    `configurations` says how the servers that the plan names are run.
    """

    def __init__(
        self,
        plan: Plan,
        files: RunFiles,
        configurations: Mapping[str, Configuration],
        cores: Cores,
        max_failed_cells: int = MAX_FAILED_CELLS,
    ) -> None:
        self.plan = plan
        self.files = files
        self.configurations = configurations
        self.cores = cores
        self.max_failed_cells = max_failed_cells
        self.environment = environment_record(cores, CLOSED_LOOP_SETTINGS)
        self.logs = files.folder / "logs"
        self.limits = LoadGeneratorLimits(files)
        self.redis_url = ""

    def run(self) -> None:
        """Measures every missing cell, in the plan's order; one that fails is recorded, and the next begins.

        Raises:
            CellsFailed: all cells were tried and some failed.
            ProcessFailed: `max_failed_cells` cells failed, or nothing could be measured at all. The cells
                before stay.
            OSError: the run's folder cannot be written, or its disk is full. The cells before stay.
        """
        for folder in (self.files.cells_folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            self.files.check_writable(folder)
        cells = list(self.plan.cells())
        missing = [cell for cell in cells if not self.files.has(cell)]
        failed: list[str] = []
        with contextlib.ExitStack() as stack:
            if any(self.configurations[cell.server].cached for cell in missing):
                # On the server's own cores: a cache that had a core of its own would be a second machine.
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            load_s = self.plan.duration_s + self.plan.warmup_s
            progress = stack.enter_context(Progress(len(cells), len(missing), load_s))
            self.limits.measure(self.plan, missing, self.cores, self.logs, progress.print_line)
            for cell in missing:
                target = self._target(cell)
                progress.begin(cell)
                try:
                    record = self._measure(target, cell, progress)
                except ProcessFailed as error:
                    reasons = [str(error)]
                    record = {"status": "failed", "invalid_reasons": reasons, "figures": {}, "errors": {}}
                    failed.append(f"{cell.name}: {error}")
                self.files.write_cell(cell, record | self._context(target))
                progress.finish(_summary(record))
                if len(failed) == self.max_failed_cells:
                    raise ProcessFailed(f"{len(failed)} cells failed, the last {failed[-1]}")
        if failed:
            counted = format_count(len(failed), "cell")
            raise CellsFailed(f"{counted} of {len(cells)} failed: {'; '.join(failed)}")

    def _target(self, cell: Cell) -> Target:
        configuration, folder = self.configurations[cell.server], self.files.cells_folder
        return Target(configuration, cell.task, folder, self.cores, self.logs, self.redis_url)

    def _measure(self, target: Target, cell: Cell, progress: Progress) -> dict[str, Any]:
        progress.show("start")
        with target.serving(cell.name, **CLOSED_LOOP_SETTINGS) as server:
            try:
                rss_ready_bytes = ProcessTree(server.pid).usage().rss_bytes
            except psutil.NoSuchProcess:
                raise ProcessFailed(f"{server.name} ended before any load: {server.last_line()}") from None
            progress.show("check")
            target.check_answers(server, self.plan.seed, cell.texts_per_request)
            if cell.workload == "zipf" and target.configuration.cached:
                # While a cache fills, a cell's figures depend on how long it lasts.
                progress.show("fill the cache")
                target.fill_cache(server, self.plan.seed)
            measured = measure_closed_loop(target, server, self.plan, cell, progress.show)
            progress.show("stop")
        limit_rps = self.limits.rps(cell)
        reasons = invalid_reasons(measured, self.cores.apart, self.plan.settle_s, limit_rps)
        start = {"cold_start_s": server.cold_start_s, "rss_ready_bytes": rss_ready_bytes}
        return {
            "status": "invalid" if reasons else "ok",
            "invalid_reasons": reasons,
            "figures": measured.figures | start,
            "errors": measured.errors,
            "stability": stability(measured.figures["window_spread"]),
            "extension": measured.extension,
            "load_generator_limit_rps": limit_rps,
        }

    def _context(self, target: Target) -> dict[str, Any]:
        used = target.configuration
        return {
            "configuration": {"server": used.server, "settings": dict(used.settings), "cached": used.cached},
            "model": used.model(target.task),
            "environment": self.environment,
        }


def _summary(record: dict[str, Any]) -> str:
    """A cell's record as the line that stays on the screen."""
    if record["status"] == "failed":
        return f"failed: {record['invalid_reasons'][0]}"
    figures = record["figures"]
    parts = [f"{figures['throughput_rps']:.1f} RPS"]
    parts += [f"p{name} {format_ms(figures[f'p{name}_ms'])}" for name in (50, 95)]
    if figures["cache_hit_rate"] is not None:
        parts.append(f"{figures['cache_hit_rate']:.1%} hits")
    parts += [f"cold start {figures['cold_start_s']:.1f} s", record["stability"], record["extension"]]
    return ", ".join(part for part in [*parts, record["status"], *record["invalid_reasons"]] if part)
