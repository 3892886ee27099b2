"""Samples what a server and its load use while they run: CPU, memory, open files, threads."""

import threading
import time
from dataclasses import dataclass

import pandas as pd
import psutil

from benchmark.runs.records import SAMPLE_COLUMNS

INTERVAL_S = 0.5
CPU_COLUMNS = ("server_cpu_percent", "load_cpu_percent")


@dataclass(frozen=True)
class ProcessUsage:
    """What a process holds at one moment."""

    rss_bytes: int
    open_files: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process) -> "ProcessUsage":
        with process.oneshot():
            return cls(process.memory_info().rss, process.num_fds(), process.num_threads())


class Sampler:
    """A thread that reads both processes every INTERVAL_S while its block runs."""

    def __init__(self, server_pid: int, load_pid: int) -> None:
        self._pids = server_pid, load_pid
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._rows: list[tuple[float, ...]] = []

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            server, load = map(psutil.Process, self._pids)
            server.cpu_percent()
            load.cpu_percent()
            while not self._stopped.wait(INTERVAL_S):
                now_s, usage = time.perf_counter(), ProcessUsage.of(server)
                row = now_s, server.cpu_percent(), usage.rss_bytes, load.cpu_percent()
                self._rows.append((*row, usage.open_files, usage.threads))
        except psutil.NoSuchProcess:
            return  # whoever started the process notices its end; what was sampled stays

    def table(self, zero_s: float) -> pd.DataFrame:
        """One row a sample, `time_s` counted from `zero_s` (time.perf_counter)."""
        table = pd.DataFrame(self._rows, columns=list(SAMPLE_COLUMNS))
        table["time_s"] = (table["time_s"] - zero_s).round(3)
        return table

    def between(self, start_s: float, end_s: float) -> dict[str, float | None]:
        """Mean CPU over an interval, largest memory of the whole run; None where nothing was sampled."""
        samples = self.table(0.0)
        figures = samples[samples["time_s"].between(start_s, end_s)].mean()[list(CPU_COLUMNS)]
        figures["rss_peak_bytes"] = samples["server_rss_bytes"].max()
        return {str(name): None if pd.isna(value) else float(value) for name, value in figures.items()}
