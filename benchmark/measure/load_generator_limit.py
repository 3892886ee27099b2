"""The load generator limit: its throughput against a server that answers at once.

results/<run>/client_ceiling.json   one entry a level: task, workload, texts a request, users
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.processes import Server, free_port
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles, read_json, write_json

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


def start_echo_server(cores: tuple[int, ...], log_path: Path) -> Server:
    return Server("benchmark.measure.echo_server", free_port(), cores, log_path, {})


class LoadGeneratorLimits:
    """The limits of a run by level, measured once and kept in its folder."""

    def __init__(self, files: RunFiles) -> None:
        self.path = files.folder / "client_ceiling.json"
        entries = read_json(self.path)["levels"] if self.path.is_file() else []
        self.levels: dict[Level, dict[str, Any]] = {Level(**entry["level"]): entry for entry in entries}

    def rps(self, cell: Cell) -> float | None:
        """The limit at the level of `cell`; None where it was not measured."""
        entry = self.levels.get(Level.of(cell))
        return float(entry["throughput_rps"]) if entry else None

    def measure(
        self, plan: Plan, cells: Iterable[Cell], cores: Cores, logs: Path, print_line: Callable[[str], None]
    ) -> None:
        """Measures each level of `cells` that is not known yet, for `plan.client_ceiling_s`.

        Raises:
            ProcessFailed: the echo server or the load generator failed.
            OSError: the figures could not be written.
        """
        missing = [level for level in dict.fromkeys(map(Level.of, cells)) if level not in self.levels]
        if not missing or not plan.client_ceiling_s:
            return
        short = replace(plan, duration_s=plan.client_ceiling_s, max_duration_s=0.0, warmup_s=WARMUP_S)
        server = start_echo_server(cores.server, logs / "echo_server.log")
        try:
            server.wait_ready(START_TIMEOUT_S)
            for level in missing:
                self.levels[level] = entry = measure_level(level, short, server, cores, logs)
                write_json(self.path, {"levels": [*self.levels.values()]})
                print_line(
                    f"load generator limit, {level.task} {level.workload} x{level.texts_per_request} "
                    f"u{level.users}: {entry['throughput_rps']:,.0f} RPS"
                )
        finally:
            server.stop()


def measure_level(level: Level, plan: Plan, server: Server, cores: Cores, logs: Path) -> dict[str, Any]:
    cell = Cell("echo", level.task, level.workload, level.texts_per_request, level.users, 1)
    log_path = logs / "echo_server.load.log"
    with tempfile.TemporaryDirectory(prefix="inference-gap-limit-") as folder:
        path = Path(folder) / "requests.csv.xz"
        # An echo knows no labels: checking them would call its answers wrong.
        measured = measure_closed_loop(server, plan, cell, cores.load, log_path, path, check_labels=False)
    return {
        "level": vars(level),
        **{name: measured.figures[name] for name in ("throughput_rps", "duration_s", "load_cpu_percent")},
    }
