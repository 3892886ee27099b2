"""The whole latency distribution at one level of users: every percentile, one chart a slice and level."""

import numpy as np
from matplotlib.axes import Axes

from benchmark.charts import sentences, style, titles
from benchmark.charts.axes import log_ms_axis, share_ticks
from benchmark.charts.caption import caption, dots_note, missing, subtitle
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_exact, format_users

# Quantiles that are read off observed latencies, never between two of them.
SHARES = np.linspace(0.005, 1, 200)
HOVER_PERCENT = (5, 10, 25, 50, 75, 90, 95, 99)


def distribution(data: RunData, part: Slice, level: int) -> Sheet:
    cells = data.of(part).where(users=level)
    at = {metric: titles.at_level(cells.medians(metric), level) for metric in ("p50_ms", "p95_ms")}
    sheet = Sheet(
        sentences.distribution(at["p50_ms"], at["p95_ms"], level, part.task),
        subtitle(data, part, f"latency in ms of each share of the requests, {format_users(level)}"),
        caption(
            data, cells, [dots_note(cells).replace("Dot", "Faint"), *missing(cells, invalid_as="Dotted")]
        ),
    )
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    curves = {
        (server, status): quantiles(cells.where(server=server, status=status))
        for server in cells.servers
        for status in ("ok", "invalid")
    }
    curves = {key: repeats for key, repeats in curves.items() if len(repeats)}
    log_ms_axis(ax, [float(value) for repeats in curves.values() for value in repeats.flat])
    labels = []
    for (server, status), repeats in curves.items():
        ink, line = style.colour(server), style.dashes(server) if status == "ok" else ":"
        # A valid line speaks for its server; an invalid one does only where no other exists.
        main = status == "ok" or (server, "ok") not in curves
        if len(repeats) > 1 or not main:
            ax.step(SHARES, repeats.T, line, color=ink, linewidth=1.5, alpha=0.4, **style.UNCLIPPED)
        if main:
            middle = np.median(repeats, axis=0)
            ax.step(SHARES, middle, line, color=ink, **style.UNCLIPPED)
            if status == "ok":
                percentiles = [at[metric].get(server, np.nan) for metric in ("p50_ms", "p95_ms")]
                ax.plot([0.5, 0.95], percentiles, "o", color=ink)
            name = titles.name(server) + ("" if status == "ok" else " (invalid)")
            add_curve_values(sheet, ax, cells.where(server=server, status=status), name)
            labels.append(Label(1, float(middle[-1]), name, style.text_colour(server)))
    ax.set_xlim(0, 1)
    share_ticks(ax, "x", [0.25, 0.5, 0.75, 0.95])
    ax.grid(axis="x", color=style.FAINT_GRID)
    ax.set_xlabel("share of requests")
    end_labels(sheet, ax, labels)
    return sheet


def add_curve_values(sheet: Sheet, ax: Axes, cells: Cells, name: str) -> None:
    """What a reader sees on hover along one curve, but nothing that rests on too few requests."""
    repeats = [latencies for latencies in map(cells.latencies, cells.rows()) if len(latencies)]
    for percent in HOVER_PERCENT:
        if min(map(len, repeats)) >= stats.sample_floor(max(percent, 100 - percent)):
            value = float(np.median([np.percentile(one, percent) for one in repeats]))
            text = f"{name}: {percent} % within {format_exact(value)} ms"
            sheet.add_value(ax, (percent / 100, value), text)


def quantiles(cells: Cells) -> np.ndarray:
    """One row a repeat that has answers, one column a share, in ms."""
    repeats = [latencies for latencies in map(cells.latencies, cells.rows()) if len(latencies)]
    return np.array([np.quantile(one, SHARES, method="inverted_cdf") for one in repeats])
