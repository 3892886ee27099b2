"""The load generator limit: its throughput against a server that answers at once.

results/<run>/load_generator_limit.json   the limit of each level: task, workload, texts a request, users
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from benchmark.measure.closed_loop import closed_loop_options, longest_s
from benchmark.measure.load import Event, run_load
from benchmark.measure.processes import Server, free_port
from benchmark.runs.plan import Cores, Plan
from benchmark.runs.records import Cell, RunFiles, read_json, write_json

WARMUP_S = 1.0
Figures = dict[str, float | None]


def level_of(cell: Cell) -> str:
    """What the load depends on besides the server."""
    return replace(cell, server="echo", repeat=1).name


def start_echo_server(cores: tuple[int, ...], log_path: Path) -> Server:
    return Server("benchmark.measure.echo_server", free_port(), cores, log_path, {})


class LoadGeneratorLimits:
    """The limits of a run by level, measured once and kept in its folder."""

    def __init__(self, files: RunFiles) -> None:
        self.path = files.folder / "load_generator_limit.json"
        self.levels: dict[str, Figures] = read_json(self.path) if self.path.is_file() else {}

    def rps(self, cell: Cell) -> float | None:
        """The limit at the level of `cell`; None where it was not measured."""
        return self.levels.get(level_of(cell), {}).get("throughput_rps")

    def measure(
        self, plan: Plan, cells: Iterable[Cell], cores: Cores, logs: Path, print_line: Callable[[str], None]
    ) -> None:
        """Measures each level of `cells` that is not known yet, for `plan.load_generator_limit_s`.

        Raises:
            ProcessFailed: the echo server or the load generator failed.
            OSError: the figures could not be written.
        """
        missing = {level_of(cell): cell for cell in cells if level_of(cell) not in self.levels}
        if not missing or not plan.load_generator_limit_s:
            return
        short = replace(plan, duration_s=plan.load_generator_limit_s, max_duration_s=0.0, warmup_s=WARMUP_S)
        with start_echo_server(cores.server, logs / "echo_server.log") as server:
            server.wait_ready()
            for level, cell in missing.items():
                log_path = logs / "echo_server.load.log"
                self.levels[level] = measure_level(server, short, cell, cores.load, log_path)
                write_json(self.path, self.levels)
                print_line(
                    f"load generator limit, {cell.task} {cell.workload} x{cell.texts_per_request} "
                    f"u{cell.users}: {self.rps(cell):,.0f} RPS"
                )


def measure_level(server: Server, plan: Plan, cell: Cell, cores: tuple[int, ...], log_path: Path) -> Figures:
    """The load's throughput and CPU while its window is open."""
    events: dict[str, Event] = {}  # the last of each phase
    options = closed_loop_options(plan, cell)

    def on_event(event: Event) -> None:
        events[event["phase"]] = event

    sampler = run_load(server, options, cores, log_path, longest_s(plan), on_event=on_event)
    opened, ended = events["window"], events["part"]
    duration_s = ended["at_s"] - opened["at_s"]
    return {
        "throughput_rps": (ended["answered"] - opened["answered"]) / duration_s,
        "duration_s": duration_s,
        "load_cpu_percent": sampler.between(opened["at_s"], ended["at_s"])["load_cpu_percent"],
    }
