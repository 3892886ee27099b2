"""When a cell's figures mean nothing, and why."""

from typing import Any

from benchmark.stats.figures import RATE_FLOOR

MAX_LOAD_CPU_PERCENT = 90.0
# Nearer to what the client manages against a server that answers at once, a figure is the client's too.
MAX_CEILING_SHARE = 0.8


def invalid_reasons(
    measured: dict[str, Any], apart: bool, settle_s: float, ceiling_rps: float | None = None
) -> list[str]:
    """Why a cell's figures mean nothing; empty where they do not.

    `measured` holds the cell's `figures`, `errors` by text, and whether the load was `steady` when the window
    opened; `ceiling_rps` is what the load generator reaches at the same level against the echo server.
    """
    reasons = []
    figures = measured["figures"]
    load_cpu_percent = figures["load_cpu_percent"]
    if load_cpu_percent is not None and load_cpu_percent > MAX_LOAD_CPU_PERCENT:
        reasons.append(
            f"the load generator's core was {load_cpu_percent:.0f} % busy (limit {MAX_LOAD_CPU_PERCENT:g} %)"
        )
    if ceiling_rps is not None and figures["throughput_rps"] >= MAX_CEILING_SHARE * ceiling_rps:
        share = figures["throughput_rps"] / ceiling_rps
        reasons.append(
            f"throughput is {share:.0%} of the load generator's own ceiling of {ceiling_rps:,.0f} RPS "
            f"(limit {MAX_CEILING_SHARE:.0%})"
        )
    if not apart:
        reasons.append("server and load generator shared a core")
    requests = figures["requests"]
    if requests < RATE_FLOOR:
        reasons.append(f"{requests} requests were answered in the measured window (floor {RATE_FLOOR})")
    if not measured["steady"]:
        reasons.append(f"not every user had an answer within {settle_s:g} s")
    if measured["errors"]:
        worst = max(measured["errors"], key=measured["errors"].__getitem__)
        reasons.append(f"{sum(measured['errors'].values())} requests failed (most: {worst})")
    return reasons
