"""Runs a plan: for each cell starts the server, waits until ready, loads it, keeps every request."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmark.measure import loopback
from benchmark.measure.configurations import SERVER_SETTINGS, Configuration, usual
from benchmark.measure.load import closed_loop, drive, longest_s
from benchmark.measure.load_generator_limit import ClientCeilings
from benchmark.measure.processes import ProcessFailed, Server, check_port_free, free_port
from benchmark.measure.progress import Progress
from benchmark.measure.redis_server import clear_cache, redis_url
from benchmark.measure.validity import invalid_reasons
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles
from benchmark.stats.figures import figures, stability
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import unique

READY_TIMEOUT_S = 180.0
CHECKED_ANSWERS = 5
# One server that died is a finding; when the third cell fails, something is wrong with all of them.
MAX_FAILED_CELLS = 3


class CellsFailed(ProcessFailed):
    """The plan was gone through, but some of its cells failed."""


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
            server: usual(server, models_dir, manifest) for server in plan.servers
        }
        self.environment = environment_record(cores, SERVER_SETTINGS)
        self.logs = files.folder / "logs"
        self.ceilings = ClientCeilings(files)
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
            self.ceilings.measure(self.plan, missing, self.cores, self.logs, progress.say)
            for cell in missing:
                progress.begin(cell)
                try:
                    record = self._measure(cell, progress)
                except ProcessFailed as error:
                    self._write(cell, "failed", [str(error)], {})
                    failed.append(f"{cell.name}: {error}")
                    progress.finish(f"failed: {error}")
                    if len(failed) == MAX_FAILED_CELLS:
                        raise ProcessFailed(f"{len(failed)} cells failed, the last {failed[-1]}") from None
                else:
                    progress.finish(_summary(record))
        if failed:
            some = "1 cell" if len(failed) == 1 else f"{len(failed)} cells"
            raise CellsFailed(f"{some} of {len(cells)} failed: {'; '.join(failed)}")

    def _measure(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        progress.show("start")
        configuration = self.configurations[cell.server]
        if configuration.cached:
            clear_cache(self.redis_url)
        port = self.port or free_port()
        log_path = self.logs / f"{cell.name}.server.log"
        settings = configuration.environment(self.redis_url)
        server = Server(configuration.server, port, self.cores.server, log_path, settings)
        try:
            cold_start_s = server.wait_ready(READY_TIMEOUT_S)
            try:
                rss_ready_bytes = psutil.Process(server.pid).memory_info().rss
                progress.show("check")
                self._check_answers(server, cell)
            except (httpx.TransportError, psutil.NoSuchProcess) as error:
                raise ProcessFailed(f"{server.name} ended before any load: {error!r}") from None
            measured = self._load(server, cell, progress)
        finally:
            progress.show("stop")
            server.stop()
        measured["figures"] |= {"cold_start_s": cold_start_s, "rss_ready_bytes": rss_ready_bytes}
        ceiling_rps = self.ceilings.rps(cell)
        reasons = invalid_reasons(measured, self.cores.apart, self.plan.settle_s, ceiling_rps)
        more = {
            "errors": measured["errors"],
            "stability": stability(measured["figures"]["window_spread"]),
            "extension": measured["extension"],
            "client_ceiling_rps": ceiling_rps,
        }
        return self._write(cell, "invalid" if reasons else "ok", reasons, measured["figures"], more)

    def _check_answers(self, server: Server, cell: Cell) -> None:
        """Asks a few texts one by one before any timing.

        Raises:
            ProcessFailed: an answer is wrong.
            httpx.TransportError: none comes.
        """
        batch = cell.texts_per_request > 1
        texts = unique(cell.task, self.plan.seed, part="warmup")
        for _ in range(CHECKED_ANSWERS):
            samples = [next(texts) for _ in range(cell.texts_per_request)]
            answer = loopback.post(
                server.url + route(cell.task, batch),
                content=request_body(samples, batch),
                headers={"Content-Type": "application/json"},
                timeout=READY_TIMEOUT_S,
            )
            wrong = problem(
                cell.task,
                answer.status_code,
                answer.content,
                samples,
                batch=batch,
                check_labels=self._trained(cell),
            )
            if wrong:
                raise ProcessFailed(f"{server.name} answers {cell.task} wrongly before any load: {wrong}")

    def _load(self, server: Server, cell: Cell, progress: Progress) -> dict[str, Any]:
        path = self.files.requests_path(cell)
        arguments = closed_loop(self.plan, cell, server.url, path, self._trained(cell))
        log_path = self.logs / f"{cell.name}.load.log"
        loaded = drive(server, arguments, self.cores.load, log_path, longest_s(self.plan), progress.show)
        loaded.sampler.table(loaded.opened_s).to_csv(self.files.samples_path(cell), index=False)
        requests = self.files.read_requests(cell)
        failed = requests[~requests["ok"]]
        return {
            "figures": figures(requests, loaded.duration_s)
            | loaded.sampler.between(loaded.opened_s, loaded.ended_s)
            | {"batch_size_mean": loaded.batch_size_mean},
            "errors": {str(name): int(count) for name, count in failed["error"].value_counts().items()},
            "steady": loaded.steady,
            "extension": loaded.extension,
        }

    def _trained(self, cell: Cell) -> bool:
        return self.configurations[cell.server].artefact(cell.task)["trained"]

    def _write(
        self,
        cell: Cell,
        status: str,
        reasons: list[str],
        measured: dict[str, Any],
        more: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        configuration = self.configurations[cell.server]
        artefact = configuration.artefact(cell.task)
        record = {
            "status": status,
            "invalid_reasons": reasons,
            "figures": measured,
            "errors": {},
            **(more or {}),
            "configuration": {
                "server": configuration.server,
                "settings": dict(configuration.settings),
                "cached": configuration.cached,
            },
            "model": {key: value for key, value in artefact.items() if key != "files"},
            "environment": self.environment,
        }
        self.files.write_cell(cell, record)
        return record


def _summary(record: dict[str, Any]) -> str:
    found = record["figures"]
    parts = [f"{found['throughput_rps']:.1f} RPS"]
    parts += [
        f"p{name} {found[f'p{name}_ms']:,.0f} ms" for name in (50, 95) if found[f"p{name}_ms"] is not None
    ]
    if found["cache_hit_rate"] is not None:
        parts.append(f"{found['cache_hit_rate']:.1%} hits")
    parts += [f"cold start {found['cold_start_s']:.1f} s", record["stability"], record["extension"]]
    return ", ".join(part for part in [*parts, record["status"], *record["invalid_reasons"]] if part)
