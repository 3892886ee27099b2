"""Throughput, latency and batch size by users, p95 by throughput: medians as lines, every cell as a mark."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import log2_axis, log_ms_axis, rps_axis
from benchmark.charts.caption import dots_note, missing, slice_sheet
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.labels import Label, end_labels, near_labels
from benchmark.charts.sheet import Place, Sheet
from benchmark.charts.style import MUTED, SUBTITLE, text_colour
from benchmark.stats.formatting import format_exact, format_figure, format_users


def throughput(data: RunData, part: Slice) -> Sheet:
    metric, unit, cells = "throughput_rps", "requests a second", data.of(part)
    title = titles.throughput(cells.medians(metric), part.task)
    what = f"answered {unit} by concurrent users"
    return by_users(data, part, cells, title, what, unit, {metric: unit})


def latency(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    title = titles.latency(cells.medians("p50_ms"), part.task)
    what = "latency of a request in ms, p50 solid, p95 dashed"
    return by_users(data, part, cells, title, what, "ms", {"p50_ms": "ms p50", "p95_ms": "ms p95"})


def batch_size(data: RunData, part: Slice) -> Sheet:
    """Mean texts in a batch, of the servers that report their batches."""
    metric, unit = "batch_size_mean", "texts a batch"
    cells = data.of(part).with_figure(metric)
    title = titles.batch_size(cells.medians(metric), part.task)
    what = "mean texts in a batch that the model runs"
    return by_users(data, part, cells, title, what, unit, {metric: unit})


def tradeoff(data: RunData, part: Slice) -> Sheet:
    cells, metric = data.of(part), "p95_ms"
    title = titles.tradeoff(cells.medians("throughput_rps"), cells.medians(metric), part.task)
    what = "p95 in ms by achieved requests a second; figures: users"
    sheet = slice_sheet(data, part, cells, title, what, [dots_note(cells), *missing(cells, [metric])])
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    ax.set_xlabel("requests a second")
    log_ms_axis(ax, [*cells.marks(metric)["value"]])
    rps_axis(ax, [*cells.frame["throughput_rps"]], horizontal=True)
    names, figures, unit = [], [], "ms p95 at {x} requests a second"
    for server in cells.servers:
        places = draw_series(sheet, ax, cells.where(server=server), metric, unit, x="throughput_rps")
        figures += [Label(*place, f"{level:,}", MUTED, SUBTITLE) for level, place in places.items()]
        if places:
            names.append(Label(*places[max(places)], titles.name(server), text_colour(server)))
    near_labels(sheet, ax, [*figures, *names])
    return sheet


def by_users(
    data: RunData, part: Slice, cells: Cells, title: str, what: str, heading: str, metrics: dict[str, str]
) -> Sheet:
    """A line a server and metric, labelled at its end; `metrics` have the unit of their hover texts."""
    percentiles = [metric for metric in metrics if metric.endswith("_ms")]
    sheet = slice_sheet(data, part, cells, title, what, [dots_note(cells), *missing(cells, percentiles)])
    ax = sheet.figure.subplots()
    ax.set_title(heading)
    values = [value for metric in metrics for value in cells.marks(metric)["value"]]
    (log_ms_axis if percentiles else rps_axis)(ax, values)
    log2_axis(ax, cells.levels, "concurrent users")
    labels = []
    for metric, unit in metrics.items():
        for server in cells.servers:
            places = draw_series(sheet, ax, cells.where(server=server), metric, unit)
            medians = cells.medians(metric).get(server)
            last = format_figure(medians[max(medians)]) if medians else ""
            text = f"{titles.name(server)} {metric.removesuffix('_ms') if percentiles else last}"
            if places:
                labels.append(Label(*places[max(places)], text.strip(), text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet


def draw_series(
    sheet: Sheet, ax: Axes, cells: Cells, metric: str, unit: str, x: str = "users"
) -> dict[int, Place]:
    """Draws one server's `metric` by `x`; returns the place of each level: its median, else amid its marks.

    The line breaks at a level without a valid median: nothing is interpolated across it.
    """
    (server,) = cells.servers
    marks = cells.marks(metric)
    for _, row in marks.iterrows():
        draw_mark(sheet, ax, row, (row[x], row["value"]), unit, several=cells.repeats > 1)
    xs = cells.medians(x).get(server, {})
    places = {level: (xs[level], value) for level, value in cells.medians(metric).get(server, {}).items()}
    line = [places.get(level, (float("nan"), float("nan"))) for level in cells.levels]
    draw_medians(ax, server, *zip(*line, strict=True), tail=metric == "p95_ms" and x == "users")
    for level, place in places.items():
        sheet.add_value(ax, place, f"{titles.name(server)}, {format_users(level)}: {value_text(place, unit)}")
    middles = marks.groupby("users")[[x, "value"]].median()
    return dict(zip(middles.index, map(tuple, middles.to_numpy()), strict=True)) | places


def draw_medians(
    ax: Axes, server: str, xs: Sequence[float], ys: Sequence[float], *, tail: bool = False
) -> None:
    """A line, and each median as a point as well: a level between two gaps is no line."""
    ink = style.colour(server)
    ax.plot(xs, ys, style.dashes(server, tail=tail), color=ink, **style.UNCLIPPED)
    ax.plot(xs, ys, color=ink, markersize=style.POINT - 2 * tail, **style.MARK)


def draw_mark(sheet: Sheet, ax: Axes, row: pd.Series, place: Place, unit: str, several: bool) -> None:
    """One cell: a cross where it is invalid, hollow where it is under its sample floor, else a faint dot."""
    invalid, thin = row["status"] == "invalid", row["thin"]
    if invalid or thin or several:
        look = style.INVALID if invalid else style.HOLLOW if thin else style.REPEAT
        ax.plot(*place, color=style.colour(row["server"]), **look)
        value = f"too few requests for a {unit.split()[1]}" if thin else value_text(place, unit)
        users, state = format_users(int(row["users"])), ", invalid" if invalid else ""
        text = f"{titles.name(row['server'])}, {users}, repeat {row['repeat']}{state}: {value}"
        sheet.add_value(ax, place, text)


def value_text(place: Place, unit: str) -> str:
    """The figure that a reader sees on hover; a unit may hold the place's x."""
    return f"{format_exact(place[1])} {unit.format(x=format_exact(place[0]))}"
