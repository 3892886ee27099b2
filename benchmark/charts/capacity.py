"""Capacity at an SLO: one bar a server, one chart a task; and every step of the searches behind it."""

from collections.abc import Sequence
from typing import Any

from benchmark.charts import titles
from benchmark.charts.axes import write
from benchmark.charts.bars import THICK, bar_panels
from benchmark.charts.caption import circumstances_of_records
from benchmark.charts.data import by_server
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, MUTED, SUBTITLE, colour, text_colour
from benchmark.stats.formatting import format_factor, format_figure, format_ms


def capacity(records: Sequence[dict[str, Any]]) -> Sheet:
    """A bar a record; all of one task and one SLO."""
    records = [*by_server({record["server"]: record for record in records}).values()]
    task, slo = records[0]["task"], records[0]["slo"]
    durations_s = titles.from_to([step["duration_s"] for record in records for step in record["steps"]])
    sheet = Sheet(
        title(records),
        f"{task.capitalize()}, unique texts: highest rate of Poisson arrivals, in requests a second, whose "
        f"p95 stays within {slo['p95_ms']:,} ms with fewer than {slo['max_error_share']:.1%} errors",
        [
            "Latency counts from the scheduled send. Bar: highest rate that held; line: lowest that did not.",
            circumstances_of_records(records, f"{durations_s} s a step, 1 repeat"),
        ],
    )
    first = next((record for record in records if held(record)), None)
    (ax,) = bar_panels(sheet, [record["server"] for record in records], [""])
    for row, record in enumerate(records):
        server, low, high = record["server"], held(record), record["capacity"]["not_held_rps"] or 0.0
        ax.barh(row, low, height=THICK, color=colour(server))
        if low and high:
            ax.plot([low, high], [row, row], color=colour(server), linewidth=2)
            ax.plot(high, row, "|", color=colour(server), markersize=18, markeredgewidth=2)
        text, end = bar_text(record, first), (max(low, high) if low else 0.0, row)
        pixels, ink = (LABEL, text_colour(server)) if low else (SUBTITLE, MUTED)
        write(ax, text, end, (14, 0), pixels, ink, va="center")
    ax.set_xlim(left=0)
    return sheet


def bar_text(record: dict[str, Any], against: dict[str, Any] | None) -> str:
    """The figure at a bar's end, with its ratio to the reference's."""
    if not held(record):
        step = lowest_step(record)
        return f"misses it at {format_figure(step['rate'])} a second: p95 {format_ms(step['p95_ms'])}"
    least = "" if record["capacity"]["ended"] == "found" else "at least "
    ratio = ""
    if against is not None and against is not record:
        ratio = f", {format_factor(held(record) / held(against))} {titles.inline(against['server'])}"
    return f"{least}{format_figure(held(record))}{ratio}"


def lowest_step(record: dict[str, Any]) -> dict[str, Any]:
    return min(record["steps"], key=lambda step: step["rate"])


def held(record: dict[str, Any]) -> float:
    return record["capacity"]["held_rps"] or 0.0


def title(records: Sequence[dict[str, Any]]) -> str:
    """The capacities as a sentence."""
    limit = f"p95 within {format_figure(records[0]['slo']['p95_ms'])} ms"
    best = max(records, key=held)
    who = titles.name(best["server"])
    if not held(best):
        rate = lowest_step(best)["rate"]
        requests = f"{format_figure(rate)} {'request' if rate == 1 else 'requests'} a second"
        subject = f"{who} does not keep" if len(records) == 1 else "No server keeps"
        return f"{subject} {limit} even at {requests}"
    more = "" if best["capacity"]["ended"] == "found" else "or more "
    sentence = f"{who} keeps {limit} at {format_figure(held(best))} {more}requests a second"
    other = next((record for record in records if record is not best), None)
    if other is None:
        return sentence
    who = titles.inline(other["server"])
    if not held(other):
        return f"{sentence}, {who} not even at {format_figure(lowest_step(other)['rate'])}"
    return f"{sentence}, {format_factor(held(best) / held(other))} {who}'s {format_figure(held(other))}"
