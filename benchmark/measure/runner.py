"""Runs a plan: for each cell starts the server, waits until ready, loads it, keeps every request."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmark.measure.answer_check import check_answers
from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS, Configuration, default_configuration
from benchmark.measure.load_generator_limit import LoadGeneratorLimits
from benchmark.measure.processes import ProcessFailed, check_port_free
from benchmark.measure.progress import Progress
from benchmark.measure.redis_server import redis_url
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

    `configurations` says how the servers that the plan names are run; unless given, they are the folders of
    those names with the models of `models_dir`.
    """

    def __init__(
        self,
        plan: Plan,
        files: RunFiles,
        models_dir: Path,
        manifest: dict[str, Any],
        cores: Cores,
        port: int,
        configurations: Mapping[str, Configuration] | None = None,
    ) -> None:
        self.plan = plan
        self.files = files
        self.cores = cores
        self.port = port
        self.configurations = configurations or {
            server: default_configuration(server, models_dir, manifest) for server in plan.servers
        }
        self.environment = environment_record(cores, CLOSED_LOOP_SETTINGS)
        self.logs = files.folder / "logs"
        self.limits = LoadGeneratorLimits(files)
        self.redis_url = ""

    def run(self) -> None:
        """Measures every missing cell, in the plan's order; one that fails is recorded, and the next begins.

        Raises:
            CellsFailed: all cells were tried and some failed.
            ProcessFailed: MAX_FAILED_CELLS cells failed, or nothing could be measured at all. The cells
                before stay.
            OSError: the run's folder cannot be written, or its disk is full. The cells before stay.
        """
        if self.port:
            check_port_free(self.port)
        for folder in (self.files.cells_folder, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
            self.files.check_writable(folder)
        cells = list(self.plan.cells())
        missing = [cell for cell in cells if not self.files.has(cell)]
        load_s = self.plan.duration_s + self.plan.warmup_s
        failed: list[str] = []
        with contextlib.ExitStack() as stack:
            if any(self.configurations[cell.server].cached for cell in missing):
                # On the server's own cores: a cache that had a core of its own would be a second machine.
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            progress = stack.enter_context(Progress(cells, missing, load_s))
            self.limits.measure(self.plan, missing, self.cores, self.logs, progress.print_line)
            for cell in missing:
                progress.begin(cell)
                try:
                    record = self._measure(cell, progress)
                except ProcessFailed as error:
                    record = {
                        "status": "failed",
                        "invalid_reasons": [str(error)],
                        "figures": {},
                        "errors": {},
                    }
                    failed.append(f"{cell.name}: {error}")
                self._write(cell, record)
                progress.finish(_summary(record))
                if len(failed) == MAX_FAILED_CELLS:
                    raise ProcessFailed(f"{len(failed)} cells failed, the last {failed[-1]}")
        if failed:
            counted = format_count(len(failed), "cell")
            raise CellsFailed(f"{counted} of {len(cells)} failed: {'; '.join(failed)}")

    def _measure(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        configuration = self.configurations[cell.server]
        trained = configuration.artefact(cell.task)["trained"]
        server_log, load_log = (self.logs / f"{cell.name}.{name}.log" for name in ("server", "load"))
        progress.show("start")
        with configuration.serving(
            self.cores.server, server_log, self.redis_url, CLOSED_LOOP_SETTINGS, self.port
        ) as (server, cold_start_s):
            try:
                rss_ready_bytes = psutil.Process(server.pid).memory_info().rss
            except psutil.NoSuchProcess:
                raise ProcessFailed(f"{server.name} ended before any load: {server.last_line()}") from None
            progress.show("check")
            check_answers(
                server,
                cell.task,
                check_labels=trained,
                seed=self.plan.seed,
                texts_per_request=cell.texts_per_request,
            )
            requests_path = self.files.requests_path(cell)
            measured = measure_closed_loop(
                server, self.plan, cell, self.cores.load, load_log, requests_path, trained, progress.show
            )
            progress.show("stop")
        measured.samples.to_csv(self.files.samples_path(cell), index=False)
        limit_rps = self.limits.rps(cell)
        reasons = invalid_reasons(measured, self.cores.apart, self.plan.settle_s, limit_rps)
        figures = measured.figures | {"cold_start_s": cold_start_s, "rss_ready_bytes": rss_ready_bytes}
        return {
            "status": "invalid" if reasons else "ok",
            "invalid_reasons": reasons,
            "figures": figures,
            "errors": measured.errors,
            "stability": stability(figures["window_spread"]),
            "extension": measured.extension,
            "client_ceiling_rps": limit_rps,
        }

    def _write(self, cell: Cell, record: dict[str, Any]) -> None:
        configuration = self.configurations[cell.server]
        context = {
            "configuration": {
                "server": configuration.server,
                "settings": dict(configuration.settings),
                "cached": configuration.cached,
            },
            "model": configuration.model(cell.task),
            "environment": self.environment,
        }
        self.files.write_cell(cell, record | context)


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
