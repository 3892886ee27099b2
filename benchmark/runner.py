"""Runs a plan: for each cell starts the server, waits until ready, loads it, keeps every request."""

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmark.environment import environment_record
from benchmark.plan import Cores, Plan
from benchmark.processes import Load, ProcessFailed, Server, check_port_free, free_port
from benchmark.progress import Progress
from benchmark.records import Cell, RunFiles
from benchmark.redis_server import clear_cache, redis_url
from benchmark.sampler import Sampler
from benchmark.server_metrics import read_batch_totals
from benchmark.stats import RATE_FLOOR, figures
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import unique

READY_TIMEOUT_S = 180.0
LOAD_GRACE_S = 60.0
RAMP_S = 1.0
MAX_LOAD_CPU_PERCENT = 90.0
CHECKED_ANSWERS = 5

# A server of the comparison must not refuse what another one answers late: latency is the finding.
SERVER_SETTINGS = {"GAP_TIMEOUT_MS": "600000"}
CACHED_SERVERS = ("optimized",)
MODEL_FORMATS = {"baseline": "pytorch", "optimized": "onnx", "dynamic_batching": "onnx"}


class Runner:
    """Measures the cells of `plan` that `files` does not hold yet."""

    def __init__(
        self, plan: Plan, files: RunFiles, models_dir: Path, manifest: dict[str, Any], cores: Cores, port: int
    ) -> None:
        self.plan = plan
        self.files = files
        self.models_dir = models_dir.resolve()
        self.manifest = manifest
        self.cores = cores
        self.port = port
        self.environment = environment_record(cores, SERVER_SETTINGS)
        self.logs = files.folder / "logs"
        self.redis_url = ""

    def run(self) -> None:
        """Measures every missing cell, in the plan's order.

        Raises:
            ProcessFailed: a server or the load generator failed; the cell is recorded as failed and the
                cells before it stay.
        """
        if self.port:
            check_port_free(self.port)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.files.cells_folder.mkdir(parents=True, exist_ok=True)
        cells = list(self.plan.cells())
        missing = [cell for cell in cells if not self.files.has(cell)]
        load_s = self.plan.duration_s + self.plan.warmup_s
        with contextlib.ExitStack() as stack:
            if any(cell.server in CACHED_SERVERS for cell in missing):
                # On the server's own cores: a cache that had a core of its own would be a second machine.
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            progress = stack.enter_context(Progress(len(cells), len(cells) - len(missing), load_s))
            for cell in missing:
                progress.begin(cell)
                try:
                    record = self._measure(cell, progress)
                except ProcessFailed as error:
                    self._write(cell, "failed", [str(error)], {})
                    raise
                progress.finish(_summary(record))

    def _measure(self, cell: Cell, progress: Progress) -> dict[str, Any]:
        progress.show("start")
        settings = {**SERVER_SETTINGS, "GAP_MODELS_DIR": str(self.models_dir)}
        if cell.server in CACHED_SERVERS:
            clear_cache(self.redis_url)
            settings["REDIS_URL"] = self.redis_url
        port = self.port or free_port()
        server = Server(cell.server, port, self.cores.server, self.logs / f"{cell.name}.server.log", settings)
        try:
            cold_start_s = server.wait_ready(READY_TIMEOUT_S)
            rss_ready_bytes = psutil.Process(server.pid).memory_info().rss
            progress.show("check")
            self._check_answers(server, cell)
            measured = self._load(server, cell, progress)
        finally:
            progress.show("stop")
            server.stop()
        measured["figures"] |= {"cold_start_s": cold_start_s, "rss_ready_bytes": rss_ready_bytes}
        reasons = invalid_reasons(measured, self.cores.apart, self.plan.settle_s)
        return self._write(
            cell, "invalid" if reasons else "ok", reasons, measured["figures"], measured["errors"]
        )

    def _check_answers(self, server: Server, cell: Cell) -> None:
        """Asks a few texts one by one before any timing; a wrong answer ends the run."""
        batch = cell.texts_per_request > 1
        texts = unique(cell.task, self.plan.seed, part="warmup")
        for _ in range(CHECKED_ANSWERS):
            samples = [next(texts) for _ in range(cell.texts_per_request)]
            answer = httpx.post(
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
                raise ProcessFailed(f"{cell.server} answers {cell.task} wrongly before any load: {wrong}")

    def _load(self, server: Server, cell: Cell, progress: Progress) -> dict[str, Any]:
        arguments = ["--host", server.url, "--task", cell.task, "--workload", cell.workload]
        arguments += ["--users", str(cell.users), "--spawn-rate", f"{cell.users / RAMP_S:g}"]
        arguments += ["--texts-per-request", str(cell.texts_per_request), "--seed", str(self.plan.seed)]
        arguments += ["--measure-s", f"{self.plan.duration_s:g}", "--warmup-s", f"{self.plan.warmup_s:g}"]
        arguments += ["--settle-s", f"{self.plan.settle_s:g}"]
        arguments += ["--requests-file", str(self.files.requests_path(cell).resolve())]
        if self._trained(cell):
            arguments.append("--check-labels")
        load = Load(arguments, self.cores.load, self.logs / f"{cell.name}.load.log")
        limit_s = self.plan.duration_s + max(self.plan.settle_s, self.plan.warmup_s) + LOAD_GRACE_S
        watchdog = threading.Timer(limit_s, load.process.kill)
        watchdog.daemon = True
        watchdog.start()
        sampler = Sampler(server.pid, load.pid)
        sampler.start()
        opened_s = ended_s = None
        batches_at_open = batches_at_end = None
        steady = False
        try:
            for event in load.events():
                if (code := server.process.poll()) is not None:
                    raise ProcessFailed(f"{cell.server} ended in mid-run ({_ending(code)})")
                progress.show("measure" if opened_s else "warm-up", event)
                if event["phase"] == "window":
                    opened_s, steady = time.perf_counter(), event["steady"]
                    batches_at_open = read_batch_totals(server.url)
                elif event["phase"] == "end":
                    ended_s = time.perf_counter()
                    batches_at_end = read_batch_totals(server.url)
            load.process.wait()
        finally:
            watchdog.cancel()
            sampler.stop()
            load.stop()
        if opened_s is None or ended_s is None:
            raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
        sampler.write(self.files.samples_path(cell), opened_s)
        requests = self.files.read_requests(cell)
        failed = requests[~requests["ok"]]
        batch_size_mean = (
            batches_at_end.mean_since(batches_at_open) if batches_at_open and batches_at_end else None
        )
        return {
            "figures": figures(requests, self.plan.duration_s)
            | sampler.between(opened_s, ended_s)
            | {"batch_size_mean": batch_size_mean},
            "errors": {str(name): int(count) for name, count in failed["error"].value_counts().items()},
            "steady": steady,
        }

    def _trained(self, cell: Cell) -> bool:
        return self._artefact(cell)["trained"]

    def _artefact(self, cell: Cell) -> dict[str, Any]:
        return self.manifest["artefacts"][f"{cell.task}/{MODEL_FORMATS[cell.server]}"]

    def _write(
        self,
        cell: Cell,
        status: str,
        reasons: list[str],
        measured: dict[str, Any],
        errors: dict[str, int] | None = None,
    ) -> dict[str, Any]:
        artefact = self._artefact(cell)
        record = {
            "status": status,
            "invalid_reasons": reasons,
            "figures": measured,
            "errors": errors or {},
            "model": {key: value for key, value in artefact.items() if key != "files"},
            "environment": self.environment,
        }
        self.files.write_cell(cell, record)
        return record


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def _summary(record: dict[str, Any]) -> str:
    found = record["figures"]
    parts = [f"{found['throughput_rps']:.1f} RPS"]
    parts += [
        f"p{name} {found[f'p{name}_ms']:,.0f} ms" for name in (50, 95) if found[f"p{name}_ms"] is not None
    ]
    if found["cache_hit_rate"] is not None:
        parts.append(f"{found['cache_hit_rate']:.1%} hits")
    parts += [f"cold start {found['cold_start_s']:.1f} s", record["status"], *record["invalid_reasons"]]
    return ", ".join(parts)


def invalid_reasons(measured: dict[str, Any], apart: bool, settle_s: float) -> list[str]:
    """Why a cell's figures mean nothing; empty where they do not."""
    reasons = []
    load_cpu_percent = measured["figures"]["load_cpu_percent"]
    if load_cpu_percent is not None and load_cpu_percent > MAX_LOAD_CPU_PERCENT:
        reasons.append(
            f"the load generator's core was {load_cpu_percent:.0f} % busy (limit {MAX_LOAD_CPU_PERCENT:g} %)"
        )
    if not apart:
        reasons.append("server and load generator shared a core")
    requests = measured["figures"]["requests"]
    if requests < RATE_FLOOR:
        reasons.append(f"{requests} requests were answered in the measured window (floor {RATE_FLOOR})")
    if not measured["steady"]:
        reasons.append(f"not every user had an answer within {settle_s:g} s")
    if measured["errors"]:
        worst = max(measured["errors"], key=measured["errors"].__getitem__)
        reasons.append(f"{sum(measured['errors'].values())} requests failed (most: {worst})")
    return reasons
