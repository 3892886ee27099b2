"""Command line: `python -m peers.servers`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from benchmark.charts.peers import KIND
from benchmark.commands import options
from benchmark.commands.closed_loop import ClosedLoopOptions
from benchmark.commands.draw import draw_run
from benchmark.commands.options import comma_list
from benchmark.commands.output import console, print_line
from benchmark.commands.session import as_command
from benchmark.experiments.capacity import FOLDER as CAPACITY_FOLDER
from benchmark.experiments.capacity import Slo, format_capacity, measure_capacity
from benchmark.experiments.capacity_search import Bounds
from benchmark.measure.configurations import Configuration, default_configuration
from benchmark.measure.target import Target
from benchmark.report.peers import server_rows, setting_rows
from benchmark.runs.records import Cell, RunFiles, read_json
from benchmark.stats.formatting import rich_table
from benchmark.stats.repeats import COMPARED, repeats_of
from peers.servers.plan import PeersPlan
from peers.servers.preparation import Preparation
from peers.servers.summary import write_summary
from peers.servers.systems import OURS, SYSTEMS, peers_of

RPS = COMPARED[0]
SystemName = Literal[tuple(SYSTEMS)]  # type: ignore[valid-type]
SYSTEMS_HELP = f"Systems: {', '.join(SYSTEMS)}."
ALL_CELLS = sys.maxsize

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, kw_only=True)
class Servers(ClosedLoopOptions):
    """Compare dynamic_batching with other serving systems.

    Installs each system, searches its fastest settings, checks its answers, and measures all in rounds: under
    closed-loop load, and their capacity within a p95 limit. A system that cannot be installed or started is a
    row with its error. The same command with --name resumes an interrupted run.
    """

    systems: Annotated[Sequence[str], comma_list(SystemName, SYSTEMS_HELP)] = tuple(SYSTEMS)
    duration: options.Duration = 5.0
    warmup: options.Warmup = 2.0
    max_duration: options.MaxDuration = 10.0
    repeats: options.Repeats = 3
    search_users: Annotated[int, typer.Option(min=1, help="Users while settings are tried.")] = 50
    search_duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a try.")] = 3.0
    slo_sentiment_ms: Annotated[int, typer.Option(min=1, help="Limit of sentiment's p95.")] = 250
    slo_translation_ms: Annotated[int, typer.Option(min=1, help="Limit of translation's p95.")] = 1000
    capacity_duration: Annotated[
        float, typer.Option(min=0, help="Seconds of a step of the capacity search; 0: no search.")
    ] = 6.0

    def run(self) -> None:
        with self.run_folder(KIND, resumable=True) as folder:
            records, known = self.prepare(folder)
            files = RunFiles(folder)
            plan = self.plan(PeersPlan, (OURS, *known), (("unique", 1),))
            ours = default_configuration(OURS, self.models, self.manifest)
            failed = self.measure(files, plan, {OURS: ours, **known}, ALL_CELLS, kind=KIND)
            if self.capacity_duration:
                self.capacities(files, plan, {OURS: ours, **known})
            path, summary = write_summary(files, records)
            self.show(summary)
            print_line(path)
            draw_run(files)
            if failed:  # a row of the tables says which: a peer that fails is a result
                print_line(f"warning: {failed}")

    def prepare(self, folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Configuration]]:
        """The record of every peer by its name, and the configurations of those that can be measured."""
        users, search_s = self.search_users, self.search_duration
        common = self.models, self.manifest, folder, self.cores, users, search_s, print_line
        preparation = Preparation(*common)
        records: dict[str, dict[str, Any]] = {}
        known: dict[str, Configuration] = {}
        for task in self.tasks:
            for peer in peers_of(task, tuple(self.systems)):
                records[peer.name], configuration = preparation.prepare(peer, task)
                if not records[peer.name]["error"]:
                    known[peer.name] = configuration
        return records, known

    def capacities(self, files: RunFiles, plan: PeersPlan, known: dict[str, Configuration]) -> None:
        """Searches the capacity of every server, beginning near half of its closed-loop throughput."""
        slos = {"sentiment": Slo(self.slo_sentiment_ms), "translation": Slo(self.slo_translation_ms)}
        repeats = repeats_of(files)
        for task in plan.tasks:
            for name in plan.servers_of(task):
                target = Target(
                    known[name], task, files.folder / CAPACITY_FOLDER, self.cores, files.folder / "logs"
                )
                if target.record_path.is_file() and read_json(target.record_path)["capacity"]:
                    continue
                cell = repeats.get(Cell(name, task, "unique", 1, self.search_users, 0))
                rates = [*cell.values(RPS).values()] if cell else []
                bounds = Bounds(max(1.0, 0.6 * max(rates, default=8.0)), precision=0.1, max_steps=5)
                duration_s = self.capacity_duration
                record = measure_capacity(
                    target, slos[task], bounds, duration_s, self.warmup, self.seed, print_line
                )
                print_line(format_capacity(record))

    def show(self, summary: dict[str, Any]) -> None:
        for task, content in summary["tasks"].items():
            for users in self.users:
                console.print(rich_table(server_rows(content, users), f"{task}, {users} users"))
            console.print(rich_table(setting_rows(content), f"{task}: how each peer was run"))


app.command()(as_command(Servers))

if __name__ == "__main__":
    sys.exit(app())
