"""Overload: goodput, and p95 of what was accepted, by load offered in multiples of each server's capacity."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import log2_axis, log_ms_axis, share_ticks, write
from benchmark.charts.caption import circumstances_of_records
from benchmark.charts.data import by_server
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.load_curves import draw_medians
from benchmark.charts.sheet import Sheet
from benchmark.experiments.overload import overload_figures
from benchmark.stats.formatting import format_figure, format_percent


def overload(records: Sequence[dict[str, Any]]) -> Sheet:
    """Two panels, a line a server; all records of one task and one deadline."""
    of_server = by_server({record["offer"]["server"]: record for record in records})
    offer, deadline_ms = records[0]["offer"], records[0]["offer"]["deadline_ms"]
    rates = {server: rates_of(record) for server, record in of_server.items()}
    capacities = ", ".join(
        f"{titles.inline(server)} {format_figure(record['capacity_rps'])}"
        for server, record in of_server.items()
    )
    lost = any(own["p95_ms"].isna().any() for own in rates.values())
    behind = ", ".join(
        titles.inline(server) for server, own in rates.items() if own["generator_behind"].any()
    )
    notes = [
        f"Capacity: requests a second of a closed loop of {offer['capacity_users']} users ({capacities}). "
        "Latency counts from the scheduled send.",
        "Hollow: p95 falls among requests that got no answer, or there are too few." if lost else "",
        f"The load generator fell behind its schedule: {behind}." if behind else "",
        circumstances_of_records(records, f"{format_figure(offer['duration_s'])} s a rate, 1 repeat"),
    ]
    sheet = Sheet(
        title(records),
        f"{offer['task'].capitalize()}, unique texts, Poisson arrivals: right answers within "
        f"{deadline_ms:,} ms as a share of capacity, and p95 of accepted requests in ms",
        [note for note in notes if note],
    )
    left, right = sheet.figure.subplots(1, 2)
    levels = sorted({round(multiple, 3) for own in rates.values() for multiple in own["multiple"]})
    for ax, heading in ((left, "goodput"), (right, "p95 of accepted, ms")):
        ax.set_title(heading)
        log2_axis(ax, levels, "offered load / capacity", "x")
    for server, own in rates.items():
        left.plot(own["multiple"], own["goodput_share"], "-o", color=style.colour(server))
    left.set_ylim(0, 1.08 * max(1, *(own["goodput_share"].max() for own in rates.values())))
    share_ticks(left, "y", [0, 0.25, 0.5, 0.75, 1])
    end_labels(sheet, right, draw_p95(right, rates, deadline_ms))
    return sheet


def rates_of(record: dict[str, Any]) -> pd.DataFrame:
    """A row a rate, in multiples and shares of capacity."""
    rates = pd.DataFrame(record["rates"]).astype({"p95_ms": float})
    shares = rates[["rate", "goodput_rps"]] / record["capacity_rps"]
    return rates.assign(multiple=shares["rate"], goodput_share=shares["goodput_rps"])


def draw_p95(ax: Axes, rates: dict[str, pd.DataFrame], deadline_ms: float) -> list[Label]:
    """Draws p95 and the deadline; a rate without a p95 is hollow, at the axis' upper end."""
    log_ms_axis(ax, [*(value for own in rates.values() for value in own["p95_ms"]), deadline_ms * 1.2])
    top = ax.get_ylim()[1]
    labels = []
    for server, own in rates.items():
        draw_medians(ax, server, own["multiple"], own["p95_ms"], tail=True)
        lost = own[own["p95_ms"].isna()].assign(p95_ms=top)
        ax.plot(lost["multiple"], lost["p95_ms"], color=style.colour(server), **style.HOLLOW)
        x, y = own[["multiple", "p95_ms"]].fillna(top).iloc[-1]
        labels.append(Label(x, y, titles.name(server), style.text_colour(server)))
    ax.axhline(deadline_ms, color=style.PEER, linestyle="--", linewidth=2)
    text = f"deadline {format_figure(deadline_ms)} ms"
    write(ax, text, (0, deadline_ms), (6, 6), style.SUBTITLE, style.PEER, xycoords=("axes fraction", "data"))
    return labels


def title(records: Sequence[dict[str, Any]]) -> str:
    """What is left of the best goodput at the highest load, as a sentence."""
    figures = {record["offer"]["server"]: overload_figures(record) for record in records}
    shares = {server: one["goodput_share"] or 0.0 for server, one in figures.items()}
    best, worst = (pick(shares, key=lambda server: shares[server]) for pick in (max, min))
    times = f"{format_figure(figures[best]['multiple'])} times its capacity"
    sentence = f"At {times} {titles.inline(best)} keeps {format_percent(shares[best])} of its best goodput"
    return (
        sentence if worst == best else f"{sentence}, {titles.inline(worst)} {format_percent(shares[worst])}"
    )
