"""Capacity at an SLO: the highest Poisson rate at which p95 stays within a limit and nearly nothing fails.

results/<run>/capacity/<server>-<task>.json                       the capacity, and every step of its search
results/<run>/capacity/<server>-<task>-<rate>rps.requests.csv.xz  one row a request of a step
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.experiments.capacity_search import Bounds, Verdict, search
from benchmark.measure.target import Offered, Target
from benchmark.runs.records import write_json
from benchmark.stats.figures import sample_floor
from benchmark.stats.formatting import format_figure, format_ms
from benchmark.stats.open_loop import summary

FOLDER = "capacity"
MAX_ERROR_SHARE = 0.001
ERRORS = ("refused", "expired", "wrong", "unanswered")


@dataclass(frozen=True)
class Slo:
    """What must hold: p95 from the scheduled send within `p95_ms`, errors under MAX_ERROR_SHARE."""

    p95_ms: int

    def verdict(self, step: dict[str, Any]) -> Verdict:
        """Of a step's figures; a saturated generator, or too few requests for a p95, make it invalid."""
        if step["generator_behind"] or step["requests"] < sample_floor(95):
            return Verdict.INVALID
        errors = sum(step[name] for name in ERRORS)
        # No p95 although there are enough requests: it falls among those without an answer.
        held = step["p95_ms"] is not None and step["p95_ms"] <= self.p95_ms
        return Verdict.HELD if held and errors < MAX_ERROR_SHARE * step["requests"] else Verdict.MISSED


def step_duration_s(rate: float, least_s: float) -> float:
    """Seconds in which `rate` brings enough requests for a p95, with three deviations to spare."""
    floor = sample_floor(95)
    return max(least_s, math.ceil((floor + 3 * math.sqrt(floor)) / rate))


def measure_capacity(
    target: Target,
    slo: Slo,
    bounds: Bounds,
    duration_s: float,
    warmup_s: float,
    seed: int,
    print_line: Callable[[str], None],
) -> dict[str, Any]:
    """Searches the capacity of one server, each step on a fresh one; writes the record after each step.

    Raises:
        ProcessFailed: a server or the load generator failed, or a server answered wrongly without load.
    """
    record: dict[str, Any] = {
        "server": target.server,
        "task": target.task,
        "slo": asdict(slo) | {"max_error_share": MAX_ERROR_SHARE},
        "bounds": asdict(bounds),
        "duration_s": duration_s,
        "warmup_s": warmup_s,
        "seed": seed,
        "capacity": None,
        "steps": [],
        **target.context(),
    }

    def measure_step(rate: float) -> Verdict:
        stem = f"{target.name}-{rate:.4g}rps"
        offered = Offered(rate, step_duration_s(rate, duration_s), warmup_s, slo.p95_ms, seed=seed)
        with target.serving(stem) as server:
            target.check_answers(server, seed)
            step = offered.figures(target.offer(server, offered, stem))
        verdict = slo.verdict(step)
        record["steps"].append(step | {"duration_s": offered.measure_s, "verdict": verdict.value})
        write_json(target.record_path, record)
        print_line(f"{target.server}: {summary(step)}, p95 {format_ms(step['p95_ms'])}: {verdict}")
        return verdict

    with target.with_cache():
        record["capacity"] = asdict(search(measure_step, bounds))
    write_json(target.record_path, record)
    return record


def format_capacity(record: dict[str, Any]) -> str:
    """A record as a line."""
    found = record["capacity"]
    limit = f"p95 within {record['slo']['p95_ms']:,} ms"
    if found["held_rps"] is None:
        return f"{record['server']} does not keep {limit} at {format_figure(found['not_held_rps'])} RPS"
    return f"{record['server']} keeps {limit} at {found['held_rps']:.1f} RPS ({found['ended']})"
