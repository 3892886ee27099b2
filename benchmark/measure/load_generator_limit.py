"""What the load generator itself can do: its throughput against a server that answers at once.

results/<run>/client_ceiling.json   one entry a level: task, workload, texts a request, users
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.measure.load import closed_loop, drive, longest_s
from benchmark.measure.processes import Child, Server, free_port
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles, read_json, write_json
from benchmark.stats.figures import figures

START_TIMEOUT_S = 20.0
WARMUP_S = 1.0


@dataclass(frozen=True)
class Level:
    """What the load depends on besides the server."""

    task: str
    workload: str
    texts_per_request: int
    users: int

    @classmethod
    def of(cls, cell: Cell) -> "Level":
        return cls(cell.task, cell.workload, cell.texts_per_request, cell.users)


class EchoServer(Server):
    """The echo server as a process, with the interface of the others."""

    def __init__(self, cores: tuple[int, ...], log_path: Path) -> None:
        port = free_port()
        self.name = "the echo server"
        self.url = f"http://127.0.0.1:{port}"
        self.started_s = time.perf_counter()
        command = [sys.executable, "-m", "benchmark.measure.echo_server", "--port", str(port)]
        Child.__init__(self, command, cores, log_path, {})


class ClientCeilings:
    """The ceilings of a run by level, measured once and kept in its folder."""

    def __init__(self, files: RunFiles) -> None:
        self.path = files.folder / "client_ceiling.json"
        self.levels: dict[Level, dict[str, Any]] = {}
        if self.path.is_file():
            for entry in read_json(self.path)["levels"]:
                self.levels[Level(**entry["level"])] = entry

    def rps(self, cell: Cell) -> float | None:
        """The client's throughput at the level of `cell`; None where it was not measured."""
        entry = self.levels.get(Level.of(cell))
        return float(entry["throughput_rps"]) if entry else None

    def measure(
        self, plan: Plan, cells: Iterable[Cell], cores: Cores, logs: Path, say: Callable[[str], None]
    ) -> None:
        """Measures each level of `cells` that is not known yet, for `plan.client_ceiling_s`.

        Raises:
            ProcessFailed: the echo server or the load generator failed.
            OSError: the figures could not be written.
        """
        missing = [one for one in dict.fromkeys(map(Level.of, cells)) if one not in self.levels]
        if not missing or not plan.client_ceiling_s:
            return
        short = replace(plan, duration_s=plan.client_ceiling_s, max_duration_s=0.0, warmup_s=WARMUP_S)
        server = EchoServer(cores.server, logs / "echo_server.log")
        try:
            server.wait_ready(START_TIMEOUT_S)
            for level in missing:
                entry = self._one(short, level, server, cores, logs)
                self.levels[level] = entry
                write_json(self.path, {"levels": [*self.levels.values()]})
                say(
                    f"load generator's ceiling, {level.task} {level.workload} x{level.texts_per_request} "
                    f"u{level.users}: {entry['throughput_rps']:,.0f} RPS"
                )
        finally:
            server.stop()

    def _one(self, plan: Plan, level: Level, server: Server, cores: Cores, logs: Path) -> dict[str, Any]:
        cell = Cell("echo", level.task, level.workload, level.texts_per_request, level.users, 1)
        with tempfile.TemporaryDirectory(prefix="inference-gap-ceiling-") as folder:
            files = RunFiles(Path(folder))
            files.cells_folder.mkdir()
            # An echo knows no labels: checking them would call its answers wrong.
            arguments = closed_loop(plan, cell, server.url, files.requests_path(cell), check_labels=False)
            log_path = logs / "echo_server.load.log"
            loaded = drive(server, arguments, cores.load, log_path, longest_s(plan), lambda *_: None)
            found = figures(files.read_requests(cell), loaded.duration_s)
        return {
            "level": vars(level),
            "throughput_rps": found["throughput_rps"],
            "duration_s": loaded.duration_s,
            "load_cpu_percent": loaded.sampler.between(loaded.opened_s, loaded.ended_s)["load_cpu_percent"],
        }
