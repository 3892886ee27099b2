"""Command line: `python -m peers.engines`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.commands.options import MAX, Tasks, comma_list
from benchmark.commands.output import console, print_line
from benchmark.commands.session import RunOptions, as_command, check_quota
from benchmark.runs.environment import ROOT
from benchmark.runs.records import TASKS
from dynamic_batching.web.cpus import allowed_cpus
from peers.engines.dataset import LENGTHS
from peers.engines.registry import ENGINE_NAMES, REQUIREMENTS, engine_spec, engines_of
from peers.environments import ENVIRONMENTS, install, is_installed

EngineName = Literal[ENGINE_NAMES]  # type: ignore[valid-type]
Length = Literal[LENGTHS]  # type: ignore[valid-type]
ENGINES_HELP = f"Engines: {', '.join(ENGINE_NAMES)}; those that do a task are compared."
LENGTHS_HELP = "mixed: texts as they come; equal: full batches of texts of one length."

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, kw_only=True)
class Peers(RunOptions):
    """Compare greedy translation and sentiment in process with other engines.

    All engines have the same weights, texts, lengths and cores. Each first searches its fastest settings by
    successive halving on these cores, then all take turns. Tokens per second count those of the answers, end
    tokens included; the time includes the encoder but not tokenizing. An engine that fails is named with its
    error. The same command with --name resumes an interrupted run.
    """

    tasks: Tasks = TASKS
    engines: Annotated[Sequence[str], comma_list(EngineName, ENGINES_HELP)] = ENGINE_NAMES
    lengths: Annotated[Sequence[str], comma_list(Length, LENGTHS_HELP)] = LENGTHS
    cores: Annotated[int, typer.Option(min=1, help="Cores of each engine.")] = 1
    texts: Annotated[int, typer.Option(min=1, max=MAX, help="Texts per pass and core.")] = 256
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Passes of each engine, in turns.")] = 5

    def run(self) -> None:
        usable = allowed_cpus()
        if self.cores > len(usable):
            raise typer.BadParameter(f"this process may use {len(usable)}", param_hint="--cores")
        check_quota(self.cores)
        engines = tuple(self.engines)
        tasks = tuple(task for task in self.tasks if engines_of(task, engines))
        if not tasks:
            raise typer.BadParameter("none of them does one of --tasks", param_hint="--engines")

        from peers.engines.runner import Runner
        from peers.engines.table import workload_table

        with self.run_folder("peers", resumable=True) as folder:
            used, lengths = tuple(usable[-self.cores :]), tuple(self.lengths)
            runner = Runner(tasks, engines, used, lengths, self.texts, self.rounds, print_line)
            path, record = runner.run(
                self.models, folder, ROOT / ".cache" / "peers", python_for(tasks, engines)
            )
            for task, found in record["tasks"].items():
                for kind, workload in found["workloads"].items():
                    console.print(workload_table(task, kind, workload))
            print_line(path)


def python_for(tasks: Sequence[str], engines: tuple[str, ...]) -> Path:
    """The Python of all engines' processes: one with requirements.txt, where one of them needs it."""
    specs = [engine_spec(task, name) for task in tasks for name in engines_of(task, engines)]
    if not any(spec.needs_requirements for spec in specs):
        return Path(sys.executable)
    if not is_installed(REQUIREMENTS):
        print_line(f"installing {REQUIREMENTS.relative_to(ROOT)} into {ENVIRONMENTS.name} (once)")
    return install(REQUIREMENTS)


app.command()(as_command(Peers))

if __name__ == "__main__":
    sys.exit(app())
