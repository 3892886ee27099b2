"""Figures of a server in overload: its goodput at the highest rate as a share of its best goodput."""

from typing import Any

from benchmark.stats.formatting import format_figure, format_ms


def overload_figures(record: dict[str, Any]) -> dict[str, Any]:
    """At the highest rate offered: goodput as a share of the highest goodput at any rate, p95 in ms.

    `goodput_share` is None where no rate had goodput; a p95 is None where there are too few requests, or it
    falls among those that got no answer.
    """
    rates = sorted(record["rates"], key=lambda row: row["rate"])
    highest = rates[-1]
    peak_rps = max(row["goodput_rps"] for row in rates)
    return {
        "multiple": highest["rate"] / record["capacity_rps"],
        "peak_goodput_rps": peak_rps,
        "goodput_rps": highest["goodput_rps"],
        "goodput_share": highest["goodput_rps"] / peak_rps if peak_rps else None,
        "accepted_p95_ms": highest["p95_ms"],
        "refuse_p95_ms": highest["refuse_p95_ms"],
        "recovered": record["recovery"]["recovered"] if record["recovery"] else None,
        "generator_behind": any(row["generator_behind"] for row in rates),
    }


def overload_lines(record: dict[str, Any]) -> list[str]:
    """Lines on the highest multiple of the capacity; none where rates were not multiples of it."""
    if record["capacity_rps"] is None:
        return []
    figures = overload_figures(record)
    share = figures["goodput_share"]
    lines = [
        f"at {format_figure(figures['multiple'])} times its capacity: "
        f"goodput {figures['goodput_rps']:.1f} RPS, "
        f"{'none at any rate' if share is None else f'{share:.0%} of its peak'}; p95 of accepted requests "
        f"{format_ms(figures['accepted_p95_ms'])}; p95 to refuse {format_ms(figures['refuse_p95_ms'])}"
    ]
    if figures["generator_behind"]:
        lines.append("the load generator fell behind its schedule, and the latencies include that delay")
    return lines
