"""The search for the highest rate that a server holds: doubled or halved until bracketed, then bisected."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from benchmark.stats.formatting import format_count


class Verdict(StrEnum):
    """Of a step: the limit was held, or missed, or the load generator was too slow to tell."""

    HELD = "held"
    MISSED = "missed"
    INVALID = "invalid"


@dataclass(frozen=True)
class Bounds:
    """The first and the least rate, how close the bracket must be, and when to stop."""

    start_rps: float = 8.0
    least_rps: float = 1.0
    precision: float = 0.05
    max_steps: int = 14
    max_s: float = 900.0


@dataclass(frozen=True)
class Capacity:
    """The highest rate that held and the lowest that did not, in requests a second.

    None: no rate did. `ended` is why the search stopped; "found": the two are as close as asked for.
    """

    held_rps: float | None
    not_held_rps: float | None
    ended: str


def search(
    measure_step: Callable[[float], Verdict],
    bounds: Bounds,
    clock_s: Callable[[], float] = time.perf_counter,
) -> Capacity:
    """Measures rates by `measure_step` until two that are at most `precision` apart enclose the limit.

    An invalid step counts as not held: beyond it there is nothing to measure.
    """
    held: float | None = None
    missed: float | None = None
    invalid = False
    rate, started_s = bounds.start_rps, clock_s()
    for _ in range(bounds.max_steps):
        verdict = measure_step(rate)
        if verdict is Verdict.HELD:
            held = rate
        else:
            missed, invalid = rate, verdict is Verdict.INVALID
        if held is None and rate <= bounds.least_rps:
            return Capacity(None, missed, f"not even {bounds.least_rps:g} RPS holds")
        if held and missed and missed <= held * (1 + bounds.precision):
            return Capacity(held, missed, "the load generator's limit" if invalid else "found")
        if clock_s() - started_s >= bounds.max_s:
            return Capacity(held, missed, f"stopped after {bounds.max_s:g} s")
        if missed is None:
            rate *= 2
        elif held is None:
            rate = max(bounds.least_rps, rate / 2)
        else:
            rate = math.sqrt(held * missed)
    return Capacity(held, missed, f"stopped after {format_count(bounds.max_steps, 'step')}")
