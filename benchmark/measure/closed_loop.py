"""The load of a cell: a closed loop of Locust, measured from the opening of its window to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.measure.load import LOAD_GRACE_S, Event
from benchmark.measure.processes import Server
from benchmark.measure.server_metrics import ServerMetrics
from benchmark.measure.target import Target
from benchmark.runs.plan import Plan
from benchmark.runs.records import REQUEST_COLUMNS, Cell
from benchmark.stats.figures import figures, sample_floor

RAMP_S = 1.0
# A window grows until it has a p95; a p99 would take five times as long.
WANTED_PERCENTILE = 95


@dataclass(frozen=True)
class Measurement:
    """A cell's figures, its errors by text, and whether the load was steady when the window opened."""

    figures: dict[str, Any]
    errors: dict[str, int]
    steady: bool
    extension: str


def closed_loop_options(plan: Plan, cell: Cell) -> dict[str, object]:
    """The load of `cell` as options of closed_loop.py."""
    return {
        "task": cell.task,
        "workload": cell.workload,
        "users": cell.users,
        "spawn_rate": cell.users / RAMP_S,
        "texts_per_request": cell.texts_per_request,
        "seed": plan.seed,
        "measure_s": plan.duration_s,
        "max_measure_s": plan.max_duration_s,
        "least_answers": sample_floor(WANTED_PERCENTILE),
        "warmup_s": plan.warmup_s,
        "settle_s": plan.settle_s,
    }


def longest_s(plan: Plan) -> float:
    """Seconds after which a load that has not ended never will."""
    measured_s = max(plan.duration_s, plan.max_duration_s)
    return measured_s + max(plan.settle_s, plan.warmup_s) + LOAD_GRACE_S


def measure_closed_loop(
    target: Target,
    server: Server,
    plan: Plan,
    cell: Cell,
    show: Callable[[str, Event], None] = lambda phase, event: None,
) -> Measurement:
    """Runs the load of `cell` to its end, its files named after it; raises as run_load does."""
    events: dict[str, Event] = {}  # the last of each phase
    marks: list[tuple[float, ServerMetrics | None]] = []  # the ends of the window's parts

    def on_event(event: Event) -> None:
        events[event["phase"]] = event
        show("measure" if marks else "warm-up", event)
        if event["phase"] in ("window", "part"):
            marks.append((event["at_s"], ServerMetrics.read_or_none(server.url)))

    options = closed_loop_options(plan, cell)
    sampler = target.load(server, cell.name, options, longest_s(plan), on_event=on_event)
    end = events["end"]
    (opened_s, at_open), (ended_s, at_end) = marks[end["first_part"]], marks[-1]
    batch_size = at_end.mean_batch_size_since(at_open) if at_open and at_end else None
    requests = pd.read_csv(target.requests_path(cell.name), dtype=REQUEST_COLUMNS)
    sampler.table(opened_s).to_csv(target.path(cell.name, "samples.csv"), index=False)
    return Measurement(
        figures=figures(requests, end["duration_s"])
        | sampler.between(opened_s, ended_s)
        | {"batch_size_mean": batch_size},
        errors=requests.loc[~requests["ok"], "error"].value_counts().to_dict(),
        steady=events["window"]["steady"],
        extension=end["extension"],
    )
