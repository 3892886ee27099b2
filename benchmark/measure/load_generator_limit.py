"""The load generator limit: its throughput against a server that answers at once.

results/<run>/client_ceiling.json   one entry a level: task, workload, texts a request, users
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmark.measure.closed_loop import closed_loop_options, longest_s
from benchmark.measure.load import Event, run_load
from benchmark.measure.processes import Server, free_port
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles, read_json, write_json

WARMUP_S = 1.0


def level_of(cell: Cell) -> dict[str, Any]:
    """What the load depends on besides the server."""
    fields = asdict(cell)
    return {name: fields[name] for name in ("task", "workload", "texts_per_request", "users")}


def start_echo_server(cores: tuple[int, ...], log_path: Path) -> Server:
    return Server("benchmark.measure.echo_server", free_port(), cores, log_path, {})


class LoadGeneratorLimits:
    """The limits of a run by level, measured once and kept in its folder."""

    def __init__(self, files: RunFiles) -> None:
        self.path = files.folder / "client_ceiling.json"
        self.levels: list[dict[str, Any]] = read_json(self.path)["levels"] if self.path.is_file() else []

    def rps(self, cell: Cell) -> float | None:
        """The limit at the level of `cell`; None where it was not measured."""
        level = level_of(cell)
        return next((one["throughput_rps"] for one in self.levels if one["level"] == level), None)

    def measure(
        self, plan: Plan, cells: Iterable[Cell], cores: Cores, logs: Path, print_line: Callable[[str], None]
    ) -> None:
        """Measures each level of `cells` that is not known yet, for `plan.load_generator_limit_s`.

        Raises:
            ProcessFailed: the echo server or the load generator failed.
            OSError: the figures could not be written.
        """
        levels = dict.fromkeys(replace(cell, server="echo", repeat=1) for cell in cells)
        missing = [cell for cell in levels if self.rps(cell) is None]
        if not missing or not plan.load_generator_limit_s:
            return
        short = replace(plan, duration_s=plan.load_generator_limit_s, max_duration_s=0.0, warmup_s=WARMUP_S)
        with start_echo_server(cores.server, logs / "echo_server.log") as server:
            server.wait_ready()
            for cell in missing:
                log_path = logs / "echo_server.load.log"
                figures = measure_level(server, short, cell, cores.load, log_path)
                self.levels.append({"level": level_of(cell), **figures})
                write_json(self.path, {"levels": self.levels})
                print_line(
                    f"load generator limit, {cell.task} {cell.workload} x{cell.texts_per_request} "
                    f"u{cell.users}: {figures['throughput_rps']:,.0f} RPS"
                )


def measure_level(
    server: Server, plan: Plan, cell: Cell, cores: tuple[int, ...], log_path: Path
) -> dict[str, float | None]:
    """The load's throughput and CPU while its window is open."""
    events: list[Event] = []
    options = closed_loop_options(plan, cell)
    sampler = run_load(server, options, cores, log_path, longest_s(plan), on_event=events.append)
    opened = next(event for event in events if event["phase"] == "window")
    last_part = [event for event in events if event["phase"] == "part"][-1]
    duration_s = last_part["at_s"] - opened["at_s"]
    return {
        "throughput_rps": (last_part["answered"] - opened["answered"]) / duration_s,
        "duration_s": duration_s,
        "load_cpu_percent": sampler.between(opened["at_s"], last_part["at_s"])["load_cpu_percent"],
    }
