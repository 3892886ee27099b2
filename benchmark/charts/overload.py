"""Overload: goodput, and p95 of what was accepted, by load offered in multiples of each server's capacity."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import format_percent, log2_axis, log_ms_axis, share_ticks, write
from benchmark.charts.by_users import draw_medians
from benchmark.charts.caption import circumstances_of_records
from benchmark.charts.data import by_server
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import colour
from benchmark.experiments.overload import overload_figures
from benchmark.stats.formatting import format_figure


def overload(records: Sequence[dict[str, Any]]) -> Sheet:
    """Two panels, a line a server; all records of one task and one deadline."""
    records = by_server(records, server_of)
    offer = records[0]["offer"]
    capacities = ", ".join(
        f"{titles.inline(server_of(record))} {format_figure(record['capacity_rps'])}" for record in records
    )
    users = offer.get("capacity_users") or offer["probe_users"]  # its name in older records
    sheet = Sheet(
        title(records),
        f"{offer['task'].capitalize()}, unique texts, Poisson arrivals: right answers within "
        f"{offer['deadline_ms']:,} ms as a share of capacity, and p95 of accepted requests in ms",
        [
            f"Capacity: requests a second of a closed loop of {users} users ({capacities}). "
            "Latency counts from the scheduled send.",
            *notes(records),
            circumstances_of_records(records, f"{format_figure(offer['duration_s'])} s a rate, 1 repeat"),
        ],
    )
    left, right = sheet.figure.subplots(1, 2)
    for ax, heading in ((left, "goodput"), (right, "p95 of accepted, ms")):
        ax.set_title(heading)
        levels = sorted({round(level, 3) for record in records for level in multiples(record)})
        log2_axis(ax, levels, "times its capacity", "x")
    goodput(left, records)
    end_labels(sheet, right, latency(right, records, offer["deadline_ms"]))
    return sheet


def server_of(record: dict[str, Any]) -> str:
    return str(record["offer"]["server"])


def multiples(record: dict[str, Any]) -> list[float]:
    return [rate["rate"] / record["capacity_rps"] for rate in record["rates"]]


def goodput(ax: Axes, records: Sequence[dict[str, Any]]) -> None:
    for record in records:
        shares = [rate["goodput_rps"] / record["capacity_rps"] for rate in record["rates"]]
        ax.plot(multiples(record), shares, "-o", color=colour(server_of(record)))
    ax.set_ylim(0, 1.08 * max(1, ax.get_ylim()[1]))
    share_ticks(ax, "y", [0, 0.25, 0.5, 0.75, 1])


def latency(ax: Axes, records: Sequence[dict[str, Any]], deadline_ms: float) -> list[Label]:
    """Draws p95 and the deadline; a rate without a p95 is hollow, at the axis' upper end."""
    known = [rate["p95_ms"] for record in records for rate in record["rates"] if rate["p95_ms"]]
    log_ms_axis(ax, [*known, deadline_ms * 1.2])
    top = ax.get_ylim()[1]
    labels = []
    for record in records:
        server, xs = server_of(record), multiples(record)
        p95 = [rate["p95_ms"] or math.nan for rate in record["rates"]]
        draw_medians(ax, server, xs, p95, tail=True)
        lost = [x for x, value in zip(xs, p95, strict=True) if math.isnan(value)]
        ax.plot(lost, [top] * len(lost), color=colour(server), **style.HOLLOW)
        last = p95[-1] if math.isfinite(p95[-1]) else top
        labels.append(Label(xs[-1], last, titles.name(server), style.text_colour(server)))
    ax.axhline(deadline_ms, color=style.PEER, linestyle="--", linewidth=2)
    text = f"deadline {format_figure(deadline_ms)} ms"
    write(ax, text, (0, deadline_ms), (6, 6), style.SUBTITLE, style.PEER, xycoords=("axes fraction", "data"))
    return labels


def notes(records: Sequence[dict[str, Any]]) -> list[str]:
    """What the marks do not say by themselves."""
    lines = []
    if any(rate["p95_ms"] is None for record in records for rate in record["rates"]):
        lines.append("Hollow: p95 falls among requests that got no answer, or there are too few.")
    behind = [record for record in records if overload_figures(record)["generator_behind"]]
    if behind:
        servers = ", ".join(titles.inline(server_of(record)) for record in behind)
        lines.append(f"The load generator fell behind its schedule: {servers}.")
    return lines


def title(records: Sequence[dict[str, Any]]) -> str:
    """What is left of the best goodput at the highest load, as a sentence."""
    figures = {server_of(record): overload_figures(record) for record in records}
    shares = {server: one["goodput_share"] or 0.0 for server, one in figures.items()}
    best, worst = (pick(shares, key=lambda server: shares[server]) for pick in (max, min))
    times = f"{format_figure(figures[best]['multiple'])} times its capacity"
    sentence = f"At {times} {titles.inline(best)} keeps {format_percent(shares[best])} of its best goodput"
    return (
        sentence if worst == best else f"{sentence}, {titles.inline(worst)} {format_percent(shares[worst])}"
    )
