"""Samples the CPU time and memory of the server and the load generator while a cell runs."""

import csv
import threading
import time
from pathlib import Path

import psutil

from benchmark.runs.records import SAMPLE_COLUMNS

INTERVAL_S = 0.5


class Sampler:
    """A thread that reads both processes every INTERVAL_S, from `start` to `stop`."""

    def __init__(self, server_pid: int, load_pid: int) -> None:
        self._server = psutil.Process(server_pid)
        self._load = psutil.Process(load_pid)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self.rows: list[tuple[float, float, int, float]] = []

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._server.cpu_percent()
            self._load.cpu_percent()
            while not self._stopped.wait(INTERVAL_S):
                self.rows.append(
                    (
                        time.perf_counter(),
                        self._server.cpu_percent(),
                        self._server.memory_info().rss,
                        self._load.cpu_percent(),
                    )
                )
        except psutil.NoSuchProcess:
            return  # a process that ended is the runner's to notice; what was sampled stays

    def write(self, path: Path, zero_s: float) -> None:
        """The samples as CSV, `time_s` counted from `zero_s` (time.perf_counter)."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(SAMPLE_COLUMNS)
            for time_s, *values in self.rows:
                writer.writerow((f"{time_s - zero_s:.3f}", *values))

    def between(self, start_s: float, end_s: float) -> dict[str, float | None]:
        """Means over an interval, and the server's largest memory of the whole cell."""
        rows = [row for row in self.rows if start_s <= row[0] <= end_s]
        return {
            "server_cpu_percent": sum(row[1] for row in rows) / len(rows) if rows else None,
            "load_cpu_percent": sum(row[3] for row in rows) / len(rows) if rows else None,
            "rss_peak_bytes": max((row[2] for row in self.rows), default=None),
        }
