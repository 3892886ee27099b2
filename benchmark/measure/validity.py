"""When a cell's figures mean nothing, and why."""

from benchmark.measure.closed_loop import Measurement
from benchmark.stats.figures import RATE_FLOOR
from benchmark.stats.formatting import format_count

MAX_LOAD_CPU_PERCENT = 90.0
# Nearer to what the load generator manages on a server that answers at once, a figure is of both.
MAX_LIMIT_SHARE = 0.8


def invalid_reasons(
    measured: Measurement, apart: bool, settle_s: float, load_generator_rps: float | None = None
) -> list[str]:
    """Why a cell is invalid; empty where it is not.

    `apart`: server and load generator had cores of their own. `load_generator_rps`: what the load generator
    reaches at the same level against the echo server.
    """
    reasons = []
    figures, errors = measured.figures, measured.errors
    load_cpu_percent, rps = figures["load_cpu_percent"], figures["throughput_rps"]
    if load_cpu_percent is not None and load_cpu_percent > MAX_LOAD_CPU_PERCENT:
        reasons.append(
            f"the load generator's core was {load_cpu_percent:.0f} % busy (limit {MAX_LOAD_CPU_PERCENT:g} %)"
        )
    if load_generator_rps is not None and rps >= MAX_LIMIT_SHARE * load_generator_rps:
        reasons.append(
            f"throughput is {rps / load_generator_rps:.0%} of the load generator limit of "
            f"{load_generator_rps:,.0f} RPS (at most {MAX_LIMIT_SHARE:.0%} is valid)"
        )
    if not apart:
        reasons.append("server and load generator shared a core")
    if figures["requests"] < RATE_FLOOR:
        reasons.append(
            f"{figures['requests']} requests were answered in the measured window (floor {RATE_FLOOR})"
        )
    if not measured.steady:
        reasons.append(f"not every user had an answer within {settle_s:g} s")
    if errors:
        most = max(errors, key=errors.__getitem__)
        reasons.append(f"{format_count(sum(errors.values()), 'request')} failed (most: {most})")
    return reasons
