"""Command line: `python -m peers.engines`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from benchmark.commands.options import MAX, comma_list
from benchmark.commands.output import console, print_line
from benchmark.commands.session import RunOptions, as_command, check_quota
from benchmark.runs.environment import ROOT
from dynamic_batching.web.cpus import allowed_cpus
from peers.engines.dataset import LENGTHS
from peers.engines.registry import ENGINES, check_installed

EngineName = Literal[tuple(ENGINES)]  # type: ignore[valid-type]
Length = Literal[LENGTHS]  # type: ignore[valid-type]
ENGINES_HELP = f"Engines: {', '.join(ENGINES)}."
LENGTHS_HELP = "mixed: texts as they come; equal: full batches of texts of one length."

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass(frozen=True, kw_only=True)
class Peers(RunOptions):
    """Compare greedy translation in process with CTranslate2 and Optimum.

    All engines have the same weights, texts, lengths and cores. Each first searches its fastest settings by
    successive halving on these cores, then all take turns. Tokens per second count those of the answers, end
    tokens included; the time includes the encoder but not tokenizing.
    """

    engines: Annotated[Sequence[str], comma_list(EngineName, ENGINES_HELP)] = tuple(ENGINES)
    lengths: Annotated[Sequence[str], comma_list(Length, LENGTHS_HELP)] = LENGTHS
    cores: Annotated[int, typer.Option(min=1, help="Cores of each engine.")] = 1
    texts: Annotated[int, typer.Option(min=1, max=MAX, help="Texts per pass and core.")] = 512
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Passes of each engine, in turns.")] = 5

    def run(self) -> None:
        usable = allowed_cpus()
        if self.cores > len(usable):
            raise typer.BadParameter(f"this process may use {len(usable)}", param_hint="--cores")
        check_quota(self.cores)

        from peers.engines.runner import Runner
        from peers.engines.table import workload_table

        with self.run_folder("peers") as folder:
            check_installed(tuple(self.engines))
            used, lengths = tuple(usable[-self.cores :]), tuple(self.lengths)
            runner = Runner(tuple(self.engines), used, lengths, self.texts, self.rounds, print_line)
            path, record = runner.run(self.models, folder, ROOT / ".cache" / "peers")
            for kind, workload in record["workloads"].items():
                console.print(workload_table(kind, workload))
            print_line(path)


app.command()(as_command(Peers))

if __name__ == "__main__":
    sys.exit(app())
