"""Two revisions of a server measured in turns within one run, so that a drift of the machine falls on both.

Its cells are those of the configurations `a` and `b`. Both get the same models, packages and load: those of
this folder.
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.measure.configurations import Configuration, default_configuration
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT
from benchmark.runs.records import Cell, RunFiles
from benchmark.stats.repeats import Repeats, repeats_of

# Stands for the files as they are here, with what is not committed.
WORKING_TREE = "."
CONFIGURATIONS = ("a", "b")


def is_revision(name: str) -> bool:
    """Whether git knows a commit by this name, or it is the working tree."""
    command = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    try:
        return name == WORKING_TREE or git(*command).returncode == 0
    except OSError:
        return False


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The folder with a revision's files, for as long as the block runs.

    Raises:
        ProcessFailed: git cannot check it out.
    """
    if revision == WORKING_TREE:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="inference-gap-revision-") as scratch:
        folder = Path(scratch) / "files"
        added = git("worktree", "add", "--detach", str(folder), revision)
        if added.returncode:
            raise ProcessFailed(f"git cannot check out {revision}: {added.stderr.strip()}")
        try:
            yield folder
        finally:
            git("worktree", "remove", "--force", str(folder))


@contextlib.contextmanager
def configurations(
    revisions: tuple[str, str], server: str, models_dir: Path, manifest: dict[str, Any]
) -> Iterator[dict[str, Configuration]]:
    """`a` and `b`: the server as each of the two revisions has it.

    Raises:
        ProcessFailed: git cannot check one out.
    """
    current = default_configuration(server, models_dir, manifest)
    with checked_out(revisions[0]) as a, checked_out(revisions[1]) as b:
        yield {"a": replace(current, code=a), "b": replace(current, code=b)}


def repeats_by_revision(files: RunFiles, server: str) -> tuple[dict[Cell, Repeats], dict[Cell, Repeats]]:
    """The valid cells of `a` and of `b`, both under the name of the server."""
    cells = repeats_of(files)
    first, second = (
        {replace(cell, server=server): repeats for cell, repeats in cells.items() if cell.server == name}
        for name in CONFIGURATIONS
    )
    return first, second


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True)
