"""The whole latency distribution at one level of users: every percentile, one chart a slice and level."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from benchmark.charts import sentences, series, titles
from benchmark.charts.axes import log_ms_axis, x_label
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import colour, dashes, text_colour
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_exact, format_users

# Quantiles that are read off observed latencies, never between two of them.
SHARES = np.linspace(0.005, 1, 200)
TOLD = (5, 10, 25, 50, 75, 90, 95, 99)  # percent, on hover


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        for level in data.of(part).levels:
            if data.of(part).where(users=level).has_requests():
                yield Drawing(f"distribution-{part.name}-u{level}", part, partial(draw, data, part, level))


def draw(data: RunData, part: Slice, level: int) -> Sheet:
    cells = data.of(part).where(users=level)
    at = {metric: titles.at_level(cells.medians(metric), level) for metric in ("p50_ms", "p95_ms")}
    faint = "Faint: one repeat; line: their median" if cells.repeats > 1 else ""
    sheet = Sheet(
        sentences.distribution(at["p50_ms"], at["p95_ms"], level, part.task),
        subtitle(
            data,
            part,
            f"latency in ms of each share of the requests, {format_users(level)}",
        ),
        caption(data, cells, [faint, *missing(cells, invalid_as="Dotted")]),
    )
    curves = {
        (server, status): quantiles(cells.where(server=server, status=status))
        for server in cells.servers
        for status in ("ok", "invalid")
    }
    curves = {key: curve for key, curve in curves.items() if len(curve)}
    # A valid line speaks for its server; an invalid one does only where no other exists.
    shown = dict(reversed(curves))
    texts = {
        server: titles.name(server) + ("" if status == "ok" else " (invalid)")
        for server, status in reversed(shown.items())
    }
    ax = sheet.axes(right=room_for(list(texts.values())), unit="ms")
    log_ms_axis(ax, [float(value) for curve in curves.values() for value in curve[:, [0, -1]].flat])
    share_axis(ax)
    labels = []
    for (server, status), curve in curves.items():
        ink = colour(server)
        line = dashes(server) if status == "ok" else ":"
        if len(curve) > 1 or shown[server] != status:
            for repeat in curve:
                ax.step(SHARES, repeat, line, color=ink, linewidth=1.5, alpha=0.4, clip_on=False)
        if shown[server] == status:
            middle = np.median(curve, axis=0)
            ax.step(SHARES, middle, line, color=ink, linewidth=4.5, clip_on=False)
            if status == "ok":
                for metric, share in (("p50_ms", 0.5), ("p95_ms", 0.95)):
                    ax.plot(
                        share, at[metric].get(server, float("nan")), "o", color=ink, markersize=series.POINT
                    )
            tell_curve(sheet, ax, cells.where(server=server, status=status), texts[server])
            labels.append(Label(1, float(middle[-1]), texts[server], text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet


def tell_curve(sheet: Sheet, ax: Axes, cells: Cells, who: str) -> None:
    """What a reader sees on hover along one curve, but nothing that rests on too few requests."""
    found = [one for one in (cells.latencies(row) for row in cells.rows()) if len(one)]
    for percent in TOLD:
        if min(map(len, found)) >= stats.sample_floor(max(percent, 100 - percent)):
            value = float(np.median([np.percentile(one, percent) for one in found]))
            sheet.tell(ax, (percent / 100, value), f"{who}: {percent} % within {format_exact(value)} ms")


def quantiles(cells: Cells) -> np.ndarray:
    """One row a repeat that has answers, one column a share, in ms."""
    found = [cells.latencies(row) for row in cells.rows()]
    return np.array([np.quantile(one, SHARES, method="inverted_cdf") for one in found if len(one)])


def share_axis(ax: Axes) -> None:
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_locator(FixedLocator([0.25, 0.5, 0.75, 0.95]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}".replace("%", " %")))
    ax.grid(axis="x", color="#ececec", linewidth=1)
    x_label(ax, "share of requests")
