"""What the commands that measure cells share: a run is begun or gone on with, and ends in one clear line."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer

from benchmark.commands.options import console, fail
from benchmark.measure.processes import ProcessFailed
from benchmark.measure.runner import CellsFailed, Runner
from benchmark.runs.plan import Plan
from benchmark.runs.records import RunFiles, RunNotFound


@contextmanager
def one_line_errors(files: RunFiles, again: str) -> Iterator[None]:
    """Ends the command with one line where the run is stopped or fails; `again` says how to go on with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"\nstopped; the cells measured so far stay. To go on: {again}")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(f"{error}\nthe cells measured so far stay. To go on: {again}") from None
    except OSError as error:
        raise fail(
            f"cannot write the results under {files.folder.parent}: {error.strerror or error}\n"
            f"the cells measured so far stay. To go on: {again}"
        ) from None


def go_through(runner: Runner) -> CellsFailed | None:
    """Measures what is missing; what failed, if all else was measured."""
    try:
        runner.run()
    except CellsFailed as failed:
        return failed
    return None


def begin(
    files: RunFiles,
    plan: Plan,
    started: datetime,
    manifest: dict[str, Any],
    environment: dict[str, Any],
    **more: Any,
) -> None:
    """Writes run.json with `more` in it, or checks that the run of this name has the same plan and models.

    What failed in the run of this name is measured again.
    """
    name = files.folder.name
    try:
        earlier = RunFiles.open(files.folder).read_run()
    except RunNotFound:
        files.write_run(
            {
                "name": name,
                "started_at": started.isoformat(timespec="seconds"),
                **more,
                "plan": plan.as_json(),
                "environment": environment,
                "models": manifest,
            }
        )
        return
    if type(plan).from_json(earlier["plan"]) != plan:
        raise fail(f"run {name} has another plan ({earlier['plan']}); give it the same options or a new name")
    if earlier["models"] != manifest:
        raise fail(f"run {name} measured other models; give this one a new name")
    before = earlier["environment"]["commit"]
    if before != environment["commit"]:
        console.print(f"warning: run {name} began at commit {before}, this is {environment['commit']}")
    failed = [
        path
        for path in files.cells_folder.glob("*.json")
        if json.loads(path.read_text())["status"] == "failed"
    ]
    for path in failed:
        path.unlink()
    console.print(f"going on with run {name}")
