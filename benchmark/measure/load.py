"""One closed loop of Locust against one server, watched from the opening of its window to its end."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.measure.process_sampler import Sampler
from benchmark.measure.processes import Load, ProcessFailed, Server
from benchmark.measure.server_metrics import ServerMetrics
from benchmark.runs.plan import Plan
from benchmark.runs.records import Cell
from benchmark.stats.figures import sample_floor

LOAD_GRACE_S = 60.0
RAMP_S = 1.0
# A window grows until it has a p95; a p99 would take five times as long.
WANTED_PERCENTILE = 95

Show = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Loaded:
    """A measured window: times are of time.perf_counter, `duration_s` is its length."""

    opened_s: float
    ended_s: float
    duration_s: float
    steady: bool
    extension: str
    batch_size_mean: float | None
    sampler: Sampler


def closed_loop(plan: Plan, cell: Cell, url: str, requests_file: Path, check_labels: bool) -> list[str]:
    """Locust's arguments for the load of `cell` on the server at `url`."""
    arguments = ["--host", url, "--task", cell.task, "--workload", cell.workload]
    arguments += ["--users", str(cell.users), "--spawn-rate", f"{cell.users / RAMP_S:g}"]
    arguments += ["--texts-per-request", str(cell.texts_per_request), "--seed", str(plan.seed)]
    arguments += ["--measure-s", f"{plan.duration_s:g}", "--max-measure-s", f"{plan.max_duration_s:g}"]
    arguments += ["--least-answers", str(sample_floor(WANTED_PERCENTILE))]
    arguments += ["--warmup-s", f"{plan.warmup_s:g}", "--settle-s", f"{plan.settle_s:g}"]
    arguments += ["--requests-file", str(requests_file.resolve())]
    return [*arguments, "--check-labels"] if check_labels else arguments


def longest_s(plan: Plan) -> float:
    """Seconds after which a load that has not ended never will."""
    measured_s = max(plan.duration_s, plan.max_duration_s)
    return measured_s + max(plan.settle_s, plan.warmup_s) + LOAD_GRACE_S


def drive(
    server: Server, arguments: list[str], cores: tuple[int, ...], log_path: Path, limit_s: float, show: Show
) -> Loaded:
    """Runs the load to its end and says what was measured.

    Raises:
        ProcessFailed: the server or the load generator ended before the window did, or the load took longer
            than `limit_s`.
        OSError: the requests could not be written.
    """
    load = Load(arguments, cores, log_path)
    watchdog = threading.Timer(limit_s, load.process.kill)
    watchdog.daemon = True
    watchdog.start()
    steady = False
    marks: list[tuple[float, ServerMetrics | None]] = []
    end: dict[str, Any] | None = None
    try:
        with Sampler(server.pid, load.pid) as sampler:
            for event in load.events():
                if (code := server.process.poll()) is not None:
                    raise ProcessFailed(f"{server.name} ended in mid-run ({_ending(code)})")
                show("measure" if marks else "warm-up", event)
                match event["phase"]:
                    case "window" | "part":
                        marks.append((event["at_s"], ServerMetrics.read_or_none(server.url)))
                        steady = event.get("steady", steady)
                    case "end":
                        end = event
                    case "unwritten":
                        raise OSError(event["errno"], os.strerror(event["errno"]))
            load.process.wait()
    finally:
        watchdog.cancel()
        load.stop()
    if end is None:
        raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
    (opened_s, at_open), (ended_s, at_end) = marks[end["first_part"]], marks[-1]
    return Loaded(
        opened_s=opened_s,
        ended_s=ended_s,
        duration_s=end["duration_s"],
        steady=steady,
        extension=end["extension"],
        batch_size_mean=at_end.mean_batch_size_since(at_open) if at_open and at_end else None,
        sampler=sampler,
    )


def _ending(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
