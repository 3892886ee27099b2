"""Samples what a server and its load use while they run: CPU, memory, open files, threads."""

import contextlib
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
    """What processes hold at one moment."""

    rss_bytes: int
    open_files: int
    threads: int

    @classmethod
    def of(cls, *processes: psutil.Process) -> "ProcessUsage":
        """The sum over processes; of several, their proportional set sizes: they share pages."""
        memory = [
            one.memory_full_info().pss if len(processes) > 1 else one.memory_info().rss for one in processes
        ]
        files, threads = ([one.num_fds() for one in processes], [one.num_threads() for one in processes])
        return cls(sum(memory), sum(files), sum(threads))


class ProcessTree:
    """A process and all that it has started, as they are now."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._known = {pid: self._root}

    def processes(self) -> list[psutil.Process]:
        """The same objects as before for those that were there: cpu_percent counts from its last call."""
        found = [self._root, *self._root.children(recursive=True)]
        self._known = {one.pid: self._known.get(one.pid, one) for one in found}
        return [*self._known.values()]

    def usage(self) -> ProcessUsage:
        """psutil.NoSuchProcess where the root has ended; of the others one may end while they are read."""
        while True:
            try:
                return ProcessUsage.of(*self.processes())
            except psutil.NoSuchProcess as error:
                if error.pid == self._root.pid:
                    raise

    def is_running(self) -> bool:
        return self._root.is_running()

    def cpu_percent(self) -> float:
        """Of one core, since the last call, by those that the last look has found."""
        return sum(one.cpu_percent() for one in self._known.values())


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
            server, load = ProcessTree(self._pids[0]), psutil.Process(self._pids[1])
        except psutil.NoSuchProcess:
            return  # whoever started the process notices its end
        while not self._stopped.wait(INTERVAL_S) and server.is_running() and load.is_running():
            # A process may end while it is read: another sample follows, unless it was the root.
            with contextlib.suppress(psutil.NoSuchProcess):
                now_s, usage = time.perf_counter(), server.usage()
                row = now_s, server.cpu_percent(), usage.rss_bytes, load.cpu_percent()
                self._rows.append((*row, usage.open_files, usage.threads))

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
