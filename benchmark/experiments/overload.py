"""What a record of multiples of a server's capacity says of its overload: one dict, and its lines."""

from typing import Any

from benchmark.stats.formatting import format_figure, format_ms


def overload_figures(record: dict[str, Any]) -> dict[str, Any]:
    """At the highest rate offered: goodput as a share of the highest goodput at any rate, p95 in ms.

    `goodput_share` is None where no rate had goodput; a p95 is None where there are too few requests, or it
    falls among those that got no answer.
    """
    rates = sorted(record["rates"], key=lambda found: found["rate"])
    last = rates[-1]
    peak_rps = max(found["goodput_rps"] for found in rates)
    return {
        "multiple": last["rate"] / record["capacity_rps"],
        "peak_goodput_rps": peak_rps,
        "goodput_rps": last["goodput_rps"],
        "goodput_share": last["goodput_rps"] / peak_rps if peak_rps else None,
        "accepted_p95_ms": last["p95_ms"],
        "refuse_p95_ms": last["refuse_p95_ms"],
        "recovered": record["recovery"]["recovered"] if record["recovery"] else None,
        "generator_behind": any(found["generator_behind"] for found in rates),
    }


def overload_lines(record: dict[str, Any]) -> list[str]:
    found = overload_figures(record)
    share = found["goodput_share"]
    lines = [
        f"at {format_figure(found['multiple'])} times its capacity: goodput {found['goodput_rps']:.1f} RPS, "
        f"{'none at any rate' if share is None else f'{share:.0%} of its peak'}; p95 of accepted requests "
        f"{format_ms(found['accepted_p95_ms'])}; p95 to refuse {format_ms(found['refuse_p95_ms'])}"
    ]
    if found["generator_behind"]:
        lines.append("the load generator fell behind its schedule, and the latencies hold that")
    return lines
