"""Many requests in a row on one server: its memory and its open files must stay as they are.

results/<run>/soak/<server>-<task>.json          what grew, and what was left behind
results/<run>/soak/<server>-<task>.samples.csv   one row a sample
results/<run>/soak/<server>-<task>.requests.csv.xz   one row a request
"""

import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from benchmark.measure.processes import Load, ProcessFailed, Server
from benchmark.measure.runner import SERVER_SETTINGS
from benchmark.measure.server_metrics import ServerMetrics
from benchmark.measure.target import Target
from benchmark.runs.environment import environment_record
from benchmark.runs.records import REQUEST_COLUMNS, write_json

FOLDER = "soak"
INTERVAL_S = 0.5
SETTLE_S = 2.0
STALLED_S = 120.0


@dataclass(frozen=True)
class Plan:
    """How many requests by how many users at once."""

    server: str
    task: str
    requests: int
    users: int
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """The server at one moment; `answered` is by its own count."""

    time_s: float
    answered: int
    rss_bytes: int
    open_files: int
    threads: int


class Soak:
    """Loads one server with a closed loop until it has answered as many requests as planned."""

    def __init__(self, plan: Plan, target: Target, say: Callable[[str], None]) -> None:
        self.plan = plan
        self.target = target
        self.say = say

    def run(self) -> dict[str, Any]:
        """Loads, samples, and writes the files.

        Raises:
            ProcessFailed: the server or the load generator ended, or no request was answered any more.
        """
        target = self.target
        target.folder.mkdir(parents=True, exist_ok=True)
        with target.with_cache(), target.serving(self.path("server.log"), **SERVER_SETTINGS) as server:
            samples = self._load(server)
            time.sleep(SETTLE_S)
            metrics = ServerMetrics.read(server.url)
            occupied, pending = metrics.sum("gap_occupied_slots"), metrics.sum("gap_pending")
        table = pd.DataFrame(
            [astuple(sample) for sample in samples], columns=[f.name for f in fields(Sample)]
        )
        table.to_csv(self.path("samples.csv"), index=False)
        requests = pd.read_csv(self.path("requests.csv.xz"), dtype=REQUEST_COLUMNS)
        record = {
            "plan": asdict(self.plan),
            "figures": growth(table, self.plan.requests)
            | {
                "requests": len(requests),
                "wrong": int((~requests["ok"]).sum()),
                "occupied_slots_after": occupied,
                "pending_after": pending,
            },
            "model": target.model,
            "environment": environment_record(target.cores, SERVER_SETTINGS),
        }
        write_json(self.path("json"), record)
        return record

    def _load(self, server: Server) -> list[Sample]:
        plan = self.plan
        arguments = ["--host", server.url, "--task", plan.task, "--seed", str(plan.seed)]
        arguments += ["--users", str(plan.users), "--spawn-rate", str(plan.users)]
        arguments += ["--requests-file", str(self.path("requests.csv.xz").resolve())]
        if self.target.artefact["trained"]:
            arguments.append("--check-labels")
        load = Load(arguments, self.target.cores.load, self.path("load.log"))
        process = psutil.Process(server.pid)
        samples: list[Sample] = []
        started_s = moved_s = time.perf_counter()
        try:
            while not samples or samples[-1].answered < plan.requests:
                time.sleep(INTERVAL_S)
                for child, what in ((server, plan.server), (load, "the load generator")):
                    if child.process.poll() is not None:
                        raise ProcessFailed(f"{what} ended in mid-run: {child.last_line()}")
                now_s = time.perf_counter()
                sample = Sample(
                    round(now_s - started_s, 3),
                    answered(server.url, plan.task),
                    process.memory_info().rss,
                    process.num_fds(),
                    process.num_threads(),
                )
                if not samples or sample.answered > samples[-1].answered:
                    moved_s = now_s
                elif now_s - moved_s > STALLED_S:
                    raise ProcessFailed(f"{plan.server} answered nothing for {STALLED_S:g} s")
                if len(samples) % 20 == 0:
                    self.say(
                        f"{sample.answered:,} of {plan.requests:,} answered, {sample.rss_bytes / 1e6:.1f} MB"
                    )
                samples.append(sample)
        finally:
            load.stop()
        return samples

    def path(self, kind: str) -> Path:
        return self.target.folder / f"{self.target.name}.{kind}"


def answered(url: str, task: str) -> int:
    """Requests to the task's route that the server says it answered with 200; 0 if it tells nothing."""
    route = {"translation": "/translate", "sentiment": "/sentiment"}[task]
    metrics = ServerMetrics.read_or_none(url)
    return metrics.total("gap_requests_total", route=route, status="200") if metrics else 0


def growth(samples: pd.DataFrame, requests: int) -> dict[str, Any]:
    """What grew after the first tenth of `requests`: the most there ever was later, over what there was then.

    The largest rather than the last: a server that swells and shrinks again has not stayed flat.
    """
    later = samples[samples["answered"] >= requests / 10]
    rss, files = later["rss_bytes"], later["open_files"]
    return {
        "answered": int(samples["answered"].iloc[-1]),
        "duration_s": float(samples["time_s"].iloc[-1]),
        "rss_first_tenth_bytes": int(rss.iloc[0]),
        "rss_last_bytes": int(rss.iloc[-1]),
        "rss_peak_bytes": int(rss.max()),
        "rss_growth": float(rss.max() / rss.iloc[0] - 1),
        "open_files_first_tenth": int(files.iloc[0]),
        "open_files_peak": int(files.max()),
    }
