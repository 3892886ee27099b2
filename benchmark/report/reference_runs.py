"""The runs of results/reference: which of them speaks first, and which one holds a cell."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.charts.data import RunData
from benchmark.charts.headline import USERS
from benchmark.runs.records import SERVERS, RunFiles, RunNotFound

# Hub models and random weights of their size are what others measure; the embedded ones are smaller.
SOURCES = ("hub", "random")


def reference_runs(reference: Path) -> list[RunData]:
    """The runs in `reference`, the one that shows most first; RunNotFound where there is none."""
    runs = [RunData(RunFiles(path.parent)) for path in reference.glob("*/run.json")]
    if not runs:
        raise RunNotFound(f"no run under {reference}")
    return sorted(runs, key=rank, reverse=True)


def rank(run: RunData) -> tuple[int, bool, int, int, str]:
    """Servers and tasks at the headline's users, size of the models, repeats, cells, age."""
    valid = run.where(status="ok", workload="unique", texts_per_request=1, users=USERS).frame
    known = valid[valid["server"].isin(SERVERS)]
    shown = len(known[["server", "task"]].drop_duplicates())
    of_size = run.run["models"]["source"] in SOURCES
    return shown, of_size, int(run.run["plan"]["repeats"]), len(run.frame), run.run["started_at"]


def figure(
    runs: Sequence[RunData], metric: str, server: str, task: str, workload: str, users: int
) -> tuple[float | None, RunData] | None:
    """The median of `metric` in the first of `runs` that has such a valid cell of single texts, and that run.

    The figure is None where the cell has too few requests for it; the whole is None without a cell.
    """
    for run in runs:
        cells = run.where(
            server=server, task=task, workload=workload, users=users, texts_per_request=1, status="ok"
        )
        if len(cells.frame):
            value = cells.frame[metric].median()
            return (None if value != value else float(value)), run
    return None
