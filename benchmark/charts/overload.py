"""Overload: goodput, and p95 of what was accepted, by load offered in multiples of each server's capacity."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, NullLocator

from benchmark.charts import titles
from benchmark.charts.axes import log_ms_axis, x_label
from benchmark.charts.data import in_order
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.record_caption import circumstances
from benchmark.charts.series import LINE, POINT
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, MARGIN, MUTED, PEER, SUBTITLE, colour, dashes, points, text_colour
from benchmark.experiments.overload import overload_figures
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import format_figure

BETWEEN = 116


def draw(records: Sequence[dict[str, Any]]) -> Sheet:
    """Two panels, a line a server; all records of one task and one deadline."""
    by_server = {record["offer"]["server"]: record for record in records}
    servers = in_order(by_server, SERVERS)
    records = [by_server[server] for server in servers]
    offer = records[0]["offer"]
    sheet = Sheet(
        title(records),
        f"{offer['task'].capitalize()}, unique texts, Poisson arrivals: right answers within "
        f"{offer['deadline_ms']:,} ms as a share of capacity, and p95 of accepted requests in ms",
        [
            "Capacity: requests a second of a closed loop of "
            f"{offer['probe_users']} users ({', '.join(capacity_told(record) for record in records)}). "
            "Latency counts from the scheduled send.",
            *notes(records),
            circumstances(records, f"{format_figure(offer['duration_s'])} s a rate, 1 repeat"),
        ],
    )
    names = [titles.name(server) for server in servers]
    right = room_for(names, LABEL)
    width = (right - MARGIN - 2 * BETWEEN + 20) / 2
    first = MARGIN + BETWEEN - 20
    left_ax = sheet.axes(left=first, right=first + width)
    right_ax = sheet.axes(left=right - width, right=right)
    goodput(left_ax, records)
    labels = latency(right_ax, records, offer["deadline_ms"])
    for ax, heading in ((left_ax, "goodput"), (right_ax, "p95 of accepted, ms")):
        multiples_axis(ax, records)
        ax.set_title(heading, fontsize=points(SUBTITLE), color=MUTED, loc="left", pad=points(12))
    end_labels(sheet, right_ax, labels)
    return sheet


def goodput(ax: Axes, records: Sequence[dict[str, Any]]) -> None:
    highest = 1.0
    for record in records:
        server, capacity = record["offer"]["server"], record["capacity_rps"]
        shares = [found["goodput_rps"] / capacity for found in record["rates"]]
        highest = max(highest, *shares)
        ax.plot(multiples(record), shares, "-o", color=colour(server), linewidth=LINE, markersize=POINT)
    ax.set_ylim(0, highest * 1.08)
    ax.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}".replace("%", " %")))


def latency(ax: Axes, records: Sequence[dict[str, Any]], deadline_ms: float) -> list[Label]:
    """Draws p95 and the deadline; a rate without a p95 is hollow, at the axis' upper end."""
    known = [found["p95_ms"] for record in records for found in record["rates"] if found["p95_ms"]]
    log_ms_axis(ax, [*known, deadline_ms * 1.2])
    top = ax.get_ylim()[1]
    labels = []
    for record in records:
        server, xs = record["offer"]["server"], multiples(record)
        p95 = [found["p95_ms"] or math.nan for found in record["rates"]]
        ink = colour(server)
        ax.plot(xs, p95, dashes(server, tail=True), color=ink, linewidth=LINE)
        ax.plot(xs, p95, "o", color=ink, markersize=POINT)
        lost = [x for x, value in zip(xs, p95, strict=True) if math.isnan(value)]
        hollow = ax.plot(lost, [top] * len(lost), "o", color=ink, markersize=POINT, clip_on=False)
        hollow[0].set(markerfacecolor="white", markeredgewidth=3)
        last = p95[-1] if math.isfinite(p95[-1]) else top
        labels.append(Label(xs[-1], last, titles.name(server), text_colour(server)))
    ax.axhline(deadline_ms, color=PEER, linestyle="--", linewidth=2)
    ax.annotate(
        f"deadline {format_figure(deadline_ms)} ms",
        (0, deadline_ms),
        (points(6), points(6)),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=points(SUBTITLE),
        color=PEER,
    )
    return labels


def multiples(record: dict[str, Any]) -> list[float]:
    return [found["rate"] / record["capacity_rps"] for found in record["rates"]]


def multiples_axis(ax: Axes, records: Sequence[dict[str, Any]]) -> None:
    """A log2 axis whose only ticks are the multiples that were offered."""
    levels = sorted({round(level, 3) for record in records for level in multiples(record)})
    ax.set_xscale("log", base=2)
    ax.set_xlim(levels[0] / 1.12, levels[-1] * 1.12)
    ax.xaxis.set_major_locator(FixedLocator(levels))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{level:g}x" for level in levels]))
    ax.xaxis.set_minor_locator(NullLocator())
    x_label(ax, "offered, of its own capacity")


def capacity_told(record: dict[str, Any]) -> str:
    return f"{titles.inline(record['offer']['server'])} {format_figure(record['capacity_rps'])}"


def notes(records: Sequence[dict[str, Any]]) -> list[str]:
    """What the marks do not say by themselves."""
    lost = any(found["p95_ms"] is None for record in records for found in record["rates"])
    behind = [record for record in records if overload_figures(record)["generator_behind"]]
    told = ["Hollow: p95 falls among requests that got no answer, or there are too few."] if lost else []
    if behind:
        who = ", ".join(titles.inline(record["offer"]["server"]) for record in behind)
        told.append(f"The load generator fell behind its schedule: {who}.")
    return told


def title(records: Sequence[dict[str, Any]]) -> str:
    """What is left of the best goodput at the highest load, as a sentence."""
    found = {record["offer"]["server"]: overload_figures(record) for record in records}
    shares = {server: one["goodput_share"] or 0.0 for server, one in found.items()}
    best = max(shares, key=lambda server: shares[server])
    times = f"{format_figure(found[best]['multiple'])} times its capacity"
    sentence = f"At {times} {titles.inline(best)} keeps {percent(shares[best])} of its best goodput"
    other = min(shares, key=lambda server: shares[server])
    if other == best:
        return sentence
    return f"{sentence}, {titles.inline(other)} {percent(shares[other])}"


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
