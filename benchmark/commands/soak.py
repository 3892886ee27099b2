"""`python -m benchmark soak`: whether a server stays the same over many requests."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.measured import measured, run_name
from benchmark.commands.options import TOO_HIGH, fail, manifest_of, measured_cores, one_of, plainly
from benchmark.runs.records import SERVERS, TASKS

MAX_GROWTH = 0.02


def soak(
    server: Annotated[str, typer.Option(help=f"One of {', '.join(SERVERS)}.")] = "dynamic_batching",
    task: Annotated[str, typer.Option(help=f"One of {', '.join(TASKS)}.")] = "translation",
    requests: Annotated[int, typer.Option(min=100, help="Answers to wait for.")] = 50_000,
    users: Annotated[int, typer.Option(min=1, max=TOO_HIGH, help="Of the closed loop.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the texts' order.")] = 0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """Many requests in a row: memory and open files over time, wrong answers, slots left occupied.

    Fails where memory grows by more than 2 % after the first tenth, or anything is left behind.
    """
    manifest = manifest_of(models)

    from benchmark.experiments.soak import FOLDER, Plan, Soak
    from benchmark.measure.target import Target

    plan = Plan(one_of(server, SERVERS, "--server"), one_of(task, TASKS, "--task"), requests, users, seed)
    folder = results / (name or run_name("soak", manifest)) / FOLDER
    with measured(results):
        target = Target(plan.server, plan.task, folder, models, manifest, measured_cores(server_cores))
        soaked = Soak(plan, target, plainly)
        record = soaked.run()
    found = record["figures"]
    plainly(
        f"{found['answered']:,} answers in {found['duration_s']:.0f} s, {found['wrong']} wrong; memory "
        f"{found['rss_first_tenth_bytes'] / 1e6:.1f} MB after a tenth, at most "
        f"{found['rss_peak_bytes'] / 1e6:.1f} MB later ({found['rss_growth']:+.1%}); open files "
        f"{found['open_files_first_tenth']}, at most {found['open_files_peak']} later"
    )
    plainly(f"{soaked.path('json')}")
    left = {key: found[key] for key in ("occupied_slots_after", "pending_after") if found[key]}
    if left or found["wrong"] or found["rss_growth"] > MAX_GROWTH:
        raise fail(
            f"memory grew by {found['rss_growth']:.1%} (limit {MAX_GROWTH:.0%}), {found['wrong']} wrong "
            f"answers, left behind: {left or 'nothing'}"
        )
