"""The whole latency distribution at one level of users: every percentile, one chart a slice and level."""

import numpy as np

from benchmark.charts import style, titles
from benchmark.charts.axes import log_ms_axis, share_ticks
from benchmark.charts.caption import dots_note, missing, slice_sheet
from benchmark.charts.data import RunData, Slice
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_exact, format_users

# Quantiles that are read off observed latencies, never between two of them.
SHARES = np.linspace(0.005, 1, 200)
HOVER_PERCENT = (5, 10, 25, 50, 75, 90, 95, 99)


def distribution(data: RunData, part: Slice, level: int) -> Sheet:
    cells = data.of(part).where(users=level)
    p50, p95 = (titles.at_level(cells.medians(metric), level) for metric in ("p50_ms", "p95_ms"))
    notes = [dots_note(cells).replace("Dot", "Faint"), *missing(cells, invalid_as="Dotted")]
    what = f"latency in ms of each share of the requests, {format_users(level)}"
    sheet = slice_sheet(data, part, cells, titles.distribution(p50, p95, level, part.task), what, notes)
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    latencies = {
        (server, status): repeats
        for server in cells.servers
        for status in ("ok", "invalid")
        if (repeats := cells.where(server=server, status=status).latencies())
    }
    log_ms_axis(ax, [float(ms) for repeats in latencies.values() for one in repeats for ms in one])
    labels = []
    for (server, status), repeats in latencies.items():
        curves = np.array([np.quantile(one, SHARES, method="inverted_cdf") for one in repeats])
        ink, line = style.colour(server), style.dashes(server) if status == "ok" else ":"
        # A valid line speaks for its server; an invalid one does only where no other exists.
        main = status == "ok" or (server, "ok") not in latencies
        if len(repeats) > 1 or not main:
            ax.step(SHARES, curves.T, line, color=ink, linewidth=1.5, alpha=0.4, **style.UNCLIPPED)
        if main:
            middle = np.median(curves, axis=0)
            ax.step(SHARES, middle, line, color=ink, **style.UNCLIPPED)
            name = titles.name(server) + ("" if status == "ok" else " (invalid)")
            for percent in HOVER_PERCENT:
                # Nothing that rests on too few requests.
                if min(map(len, repeats)) >= stats.sample_floor(max(percent, 100 - percent)):
                    value = float(np.median([np.percentile(one, percent) for one in repeats]))
                    text = f"{name}: {percent} % within {format_exact(value)} ms"
                    sheet.add_value(ax, (percent / 100, value), text)
            labels.append(Label(1, float(middle[-1]), name, style.text_colour(server)))
    for share, medians in ((0.5, p50), (0.95, p95)):
        for server, value in medians.items():
            ax.plot(share, value, "o", color=style.colour(server))
    ax.set_xlim(0, 1)
    share_ticks(ax, "x", [0.25, 0.5, 0.75, 0.95])
    ax.grid(axis="x", color=style.FAINT_GRID)
    ax.set_xlabel("share of requests")
    end_labels(sheet, ax, labels)
    return sheet
