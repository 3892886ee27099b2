"""Command line: `python -m peers.engines`."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import TOO_HIGH, check_quota, chosen, console, fail, manifest_of, plainly
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT
from dynamic_batching.web.cpus import allowed_cpus
from peers.engines.engines import ENGINES, check_installed
from peers.engines.work import LENGTHS

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def peers(
    engines: Annotated[str, typer.Option(help="Which, comma-separated.")] = ",".join(ENGINES),
    lengths: Annotated[
        str, typer.Option(help="mixed: texts as they come; equal: in full batches of one length.")
    ] = ",".join(LENGTHS),
    cores: Annotated[int, typer.Option(min=1, help="How many cores each engine has.")] = 1,
    texts: Annotated[int, typer.Option(min=1, max=TOO_HIGH, help="Texts of a pass, for each core.")] = 512,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Passes of each engine, in turn.")] = 5,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = Path("results"),
) -> None:
    """Greedy translation in process beside CTranslate2 and Optimum: same weights, texts, lengths and cores.

    Each engine first searches its best settings on these cores; then all take turns. Tokens a second are of
    the answers, end tokens included, and the time holds the encoder; tokenizing is no part of it.
    """
    names = chosen(engines, tuple(ENGINES), "--engines")
    kinds = chosen(lengths, LENGTHS, "--lengths")
    usable = allowed_cpus()
    if cores > len(usable):
        raise typer.BadParameter(f"this process may use {len(usable)}", param_hint="--cores")
    check_quota(cores)
    manifest = manifest_of(models)

    from peers.engines.contest import Contest
    from peers.engines.table import table

    name = name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-peers-{manifest['source']}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_installed(names)
        contest = Contest(models, names, tuple(usable[-cores:]), kinds, texts, rounds)
        path, record = contest.run(results / name, ROOT / ".cache" / "peers", plainly)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing was written")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    for kind, found in record["workloads"].items():
        console.print(table(kind, found))
    plainly(path)


if __name__ == "__main__":
    sys.exit(app())
