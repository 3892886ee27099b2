"""Keeps every request of a load run, opens the measured window once the load is steady, and reports progress.

A closed loop is steady after one full cycle: when every user has had its first answer. Before that the queue
is still filling, and latencies are those of a shorter queue.
"""

import contextlib
import csv
import json
import lzma
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from locustfiles.window import MeasuredWindow

REPORT_INTERVAL_S = 1.0
LIVE_WINDOW_S = 5.0
COLUMNS = ("start_s", "latency_ms", "texts", "ok", "error", "queue_ms", "inference_ms", "cache")


@dataclass
class Recorder:
    """Requests as rows; times are seconds of time.perf_counter until they are written.

    `more_columns` are those of one kind of load in addition to COLUMNS, in the order of `add`'s `more`.
    """

    more_columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    right_s: list[float] = field(default_factory=list)  # the moments of the right answers
    answered_users: set[int] = field(default_factory=set)
    recent: deque[tuple[float, float, bool]] = field(default_factory=deque)
    window_opened_s: float | None = None

    def add(
        self,
        user: int,
        start_s: float,
        latency_ms: float,
        texts: int,
        error: str | None,
        headers: Mapping[str, str],
        more: tuple[Any, ...] = (),
    ) -> None:
        durations = dict(
            part.strip().partition(";dur=")[::2] for part in headers.get("server-timing", "").split(",")
        )
        server = durations.get("queue", ""), durations.get("inference", ""), headers.get("x-cache", "")
        self.rows.append((start_s, latency_ms, texts, error is None, error or "", *server, *more))
        answered_s = start_s + latency_ms / 1e3
        if error is None:
            self.right_s.append(answered_s)
        self.answered_users.add(user)
        self.recent.append((answered_s, latency_ms, error is None))

    def live(self, now_s: float) -> dict[str, float]:
        """All answers so far; throughput, p95 and errors of the last LIVE_WINDOW_S seconds."""
        while self.recent and self.recent[0][0] < now_s - LIVE_WINDOW_S:
            self.recent.popleft()
        latencies = sorted(latency for _, latency, _ in self.recent)
        return {
            "answered": len(self.rows),
            "rps": len(latencies) / LIVE_WINDOW_S,
            "p95_ms": latencies[int(0.95 * len(latencies))] if latencies else 0.0,
            "errors": sum(not ok for _, _, ok in self.recent),
        }

    def measure(
        self, environment: Environment, users: int, warmup_s: float, settle_s: float, window: MeasuredWindow
    ) -> None:
        """Warms up, waits until the load is steady, measures until `window` has enough, and ends the run.

        `warmup_s` is the least time before the window opens, `settle_s` the longest wait for the first answer
        of the slowest user.
        """
        assert environment.runner is not None
        started_s = time.perf_counter()
        while True:
            now_s = time.perf_counter()
            waited_s = now_s - started_s
            steady = len(self.answered_users) >= users and waited_s >= warmup_s
            if steady or waited_s >= max(settle_s, warmup_s):
                break
            self.report("warm-up", now_s, {"answered_users": len(self.answered_users)})
            gevent.sleep(min(REPORT_INTERVAL_S, 0.2))
        opened_s = time.perf_counter()
        self.report("window", opened_s, {"at_s": opened_s, "steady": steady})
        for part in range(1, window.max_parts + 1):
            ends_s = opened_s + part * window.part_s
            while (now_s := time.perf_counter()) < ends_s:
                gevent.sleep(min(REPORT_INTERVAL_S, ends_s - now_s))
                self.report("measure", time.perf_counter(), {"left_s": max(0.0, ends_s - now_s)})
            self.report("part", ends_s, {"at_s": ends_s})
            if part >= window.parts and window.is_enough([one - opened_s for one in self.right_s]):
                break
        self.window_opened_s = opened_s + window.start_s
        duration_s = window.end_s - window.start_s
        end = {"first_part": window.first_part, "duration_s": duration_s, "extension": window.extension}
        self.report("end", time.perf_counter(), end)
        environment.process_exit_code = 0
        environment.runner.quit()

    def wait_for_answers(self, environment: Environment, answers: int) -> None:
        """Ends the run once there are so many answers, right or wrong."""
        assert environment.runner is not None
        self.window_opened_s = time.perf_counter()
        self.report("window", self.window_opened_s, {"at_s": self.window_opened_s})
        while len(self.rows) < answers:
            gevent.sleep(REPORT_INTERVAL_S)
            self.report("measure", time.perf_counter(), {})
        self.report("end", time.perf_counter(), {})
        environment.process_exit_code = 0
        environment.runner.quit()

    def report(self, phase: str, now_s: float, more: dict[str, object]) -> None:
        """One JSON object a line on standard output: the phase, the live figures, and `more`."""
        print(json.dumps({"phase": phase, **self.live(now_s), **more}), flush=True)

    def write(self, path: Path) -> None:
        """One row a request, `start_s` counted from the opening of the measured window.

        The file is whole or absent: where it cannot be written, the phase "unwritten" is reported instead.
        """
        unfinished = path.with_name(f".{path.name}.tmp")
        zero_s = self.window_opened_s or 0.0
        try:
            with lzma.open(unfinished, "wt", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(COLUMNS + self.more_columns)
                for start_s, latency_ms, *rest in self.rows:
                    writer.writerow((f"{start_s - zero_s:.6f}", f"{latency_ms:.4f}", *rest))
            unfinished.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            self.report("unwritten", time.perf_counter(), {"errno": error.errno})
