"""Capacity at an SLO: one bar a server, one chart a task; and every step of the searches behind it."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmark.charts import titles
from benchmark.charts.data import in_order
from benchmark.charts.record_caption import circumstances
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, MARGIN, MUTED, SUBTITLE, colour, points, text_colour, width_of
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import format_factor, format_figure

THICK = 0.5  # of a bar, in rows
BESIDE = 14  # from a bar to its figures


def draw(records: Sequence[dict[str, Any]]) -> Sheet:
    """A bar a record; all of one task and one SLO."""
    by_server = {record["server"]: record for record in records}
    servers = in_order(by_server, SERVERS)
    records = [by_server[server] for server in servers]
    task, slo = records[0]["task"], records[0]["slo"]
    durations = [step["duration_s"] for record in records for step in record["steps"]]
    lasting = " to ".join(dict.fromkeys(format_figure(one) for one in (min(durations), max(durations))))
    sheet = Sheet(
        title(records),
        f"{task.capitalize()}, unique texts: highest rate of Poisson arrivals, in requests a second, whose "
        f"p95 stays within {slo['p95_ms']:,} ms with fewer than {slo['max_error_share']:.1%} errors",
        [
            "Latency counts from the scheduled send. Bar: highest rate that held; line: lowest that did not.",
            circumstances(records, f"{lasting} s a step, 1 repeat"),
        ],
    )
    names = max(width_of(titles.name(server), LABEL) for server in servers) + 20
    ax = sheet.axes(left=MARGIN + names, right=sheet.width - MARGIN)
    bare(ax, len(servers), axis_end(records, sheet.width - 2 * MARGIN - names))
    for row, record in enumerate(records):
        bar(ax, row, record, reference(records))
    return sheet


def bar(ax: Axes, row: int, record: dict[str, Any], against: dict[str, Any] | None) -> None:
    server, found = record["server"], record["capacity"]
    ax.barh(row, held(record), height=THICK, color=colour(server))
    if found["held_rps"] and found["not_held_rps"]:
        ax.plot([held(record), not_held(record)], [row, row], color=colour(server), linewidth=2)
        ax.plot(not_held(record), row, "|", color=colour(server), markersize=18, markeredgewidth=2)
    ax.annotate(
        titles.name(server),
        (0, row),
        (points(-14), 0),
        textcoords="offset points",
        fontsize=points(LABEL),
        color=text_colour(server),
        ha="right",
        va="center",
    )
    ax.annotate(
        told(record, against),
        (end(record), row),
        (points(BESIDE), 0),
        textcoords="offset points",
        fontsize=points(size_beside(record)),
        color=text_colour(server) if found["held_rps"] else MUTED,
        va="center",
    )


def axis_end(records: Sequence[dict[str, Any]], width: float) -> float:
    """Where the axes, `width` logical pixels wide, must end for every figure to fit right of its bar."""
    against = reference(records)
    shares = [
        1 - (BESIDE + width_of(told(record, against), size_beside(record))) / width for record in records
    ]
    return max(end(record) / max(share, 0.1) for record, share in zip(records, shares, strict=True))


def end(record: dict[str, Any]) -> float:
    """Of a bar and its line, in requests a second."""
    return max(held(record), not_held(record)) if held(record) else 0.0


def size_beside(record: dict[str, Any]) -> float:
    return LABEL if held(record) else SUBTITLE


def bare(ax: Axes, rows: int, highest: float) -> None:
    """No ticks: each bar has its figure."""
    ax.set_xlim(0, highest or 1)
    ax.set_ylim(max(rows, 2) - 0.5, -0.5)
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(NullLocator())
    ax.spines["bottom"].set_visible(False)


def told(record: dict[str, Any], against: dict[str, Any] | None) -> str:
    """The figure beside a bar, with its ratio to the reference's."""
    found = record["capacity"]
    if found["held_rps"] is None:
        least = min(step["rate"] for step in record["steps"])
        return f"misses it at {format_figure(least)} a second: p95 {least_p95(record)}"
    least = "" if found["ended"] == "found" else "at least "
    ratio = ""
    if against is not None and against is not record:
        ratio = f", {format_factor(held(record) / held(against))} {titles.inline(against['server'])}"
    return f"{least}{format_figure(found['held_rps'])}{ratio}"


def least_p95(record: dict[str, Any]) -> str:
    """The p95 of the lowest rate."""
    step = min(record["steps"], key=lambda one: one["rate"])
    return "untold" if step["p95_ms"] is None else f"{format_figure(step['p95_ms'])} ms"


def held(record: dict[str, Any]) -> float:
    return record["capacity"]["held_rps"] or 0.0


def not_held(record: dict[str, Any]) -> float:
    return record["capacity"]["not_held_rps"] or 0.0


def reference(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The record that others are held against: the first server's, where it has a capacity."""
    return next((record for record in records if held(record)), None)


def title(records: Sequence[dict[str, Any]]) -> str:
    """The capacities as a sentence."""
    limit = f"p95 within {format_figure(records[0]['slo']['p95_ms'])} ms"
    best = max(records, key=held)
    if not held(best):
        least = format_figure(min(step["rate"] for step in best["steps"]))
        who = titles.name(best["server"]) if len(records) == 1 else "No server"
        verb = "does not keep" if len(records) == 1 else "keeps"
        return f"{who} {verb} {limit} even at {least} {'request' if least == '1' else 'requests'} a second"
    more = "" if best["capacity"]["ended"] == "found" else "or more "
    sentence = (
        f"{titles.name(best['server'])} keeps {limit} at {format_figure(held(best))} {more}requests a second"
    )
    other = next((record for record in records if record is not best), None)
    if other is None:
        return sentence
    who = titles.inline(other["server"])
    if not held(other):
        least = format_figure(min(step["rate"] for step in other["steps"]))
        return f"{sentence}, {who} not even at {least}"
    return f"{sentence}, {format_factor(held(best) / held(other))} {who}'s {format_figure(held(other))}"


def found_line(record: dict[str, Any]) -> str:
    """A record as a line."""
    found = record["capacity"]
    limit = f"p95 within {record['slo']['p95_ms']:,} ms"
    if found["held_rps"] is None:
        return f"{record['server']} does not keep {limit} at {format_figure(found['not_held_rps'])} RPS"
    return f"{record['server']} keeps {limit} at {found['held_rps']:.1f} RPS ({found['ended']})"
