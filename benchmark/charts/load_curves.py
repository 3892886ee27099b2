"""Throughput, latency and batch size by users, p95 by throughput: medians as lines, every cell as a mark."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import log2_axis, log_ms_axis, rps_axis
from benchmark.charts.caption import caption, dots_note, missing, subtitle
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.labels import Label, Place, end_labels, near_labels
from benchmark.charts.sheet import Sheet
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
    return by_users(
        data, part, cells, title, "mean texts in a batch that the model runs", unit, {metric: unit}
    )


def tradeoff(data: RunData, part: Slice) -> Sheet:
    cells, metric = data.of(part), "p95_ms"
    rps, p95 = cells.medians("throughput_rps"), cells.medians(metric)
    sheet = Sheet(
        titles.tradeoff(rps, p95, part.task),
        subtitle(data, part, "p95 in ms by achieved requests a second; figures: users"),
        caption(data, cells, [dots_note(cells), *missing(cells, [metric])]),
    )
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    ax.set_xlabel("requests a second")
    marks = cells.marks(metric)
    log_ms_axis(ax, [*marks["value"]])
    rps_axis(ax, [*cells.frame["throughput_rps"]], horizontal=True)
    for _, row in marks.iterrows():
        place = (row["throughput_rps"], row["value"])
        draw_mark(sheet, ax, cells, row, place, unit_at(place))
    names, figures = [], []
    lines = [[place] for place in marks[["throughput_rps", "value"]].itertuples(index=False, name=None)]
    for server in cells.servers:
        own = cells.where(server=server)
        valid = {level: (rps[server][level], value) for level, value in p95.get(server, {}).items()}
        line = [valid.get(level, (float("nan"), float("nan"))) for level in own.levels]
        draw_medians(ax, server, *zip(*line, strict=True))
        for level, place in valid.items():
            sheet.add_value(ax, place, median_text(server, level, place[1], unit_at(place)))
        # Marks that no valid median stands for are labelled in their middle.
        middles = marks[marks["server"] == server].groupby("users")[["throughput_rps", "value"]].median()
        places = {int(row.Index): (row.throughput_rps, row.value) for row in middles.itertuples()} | valid
        lines.append([*valid.values()])
        figures += [Label(*place, f"{level:,}", MUTED, SUBTITLE) for level, place in places.items()]
        if places:
            names.append(Label(*places[max(places)], titles.name(server), text_colour(server)))
    near_labels(sheet, ax, [*figures, *names], lines)
    return sheet


def unit_at(place: Place) -> str:
    return f"ms p95 at {format_exact(place[0])} requests a second"


def by_users(
    data: RunData, part: Slice, cells: Cells, title: str, what: str, heading: str, metrics: dict[str, str]
) -> Sheet:
    """A line a server and metric, labelled at its end; `metrics` have the unit of their hover texts."""
    percentiles = [metric for metric in metrics if metric.endswith("_ms")]
    notes = [dots_note(cells), *missing(cells, percentiles)]
    sheet = Sheet(title, subtitle(data, part, what), caption(data, cells, notes))
    ax = sheet.figure.subplots()
    ax.set_title(heading)
    values = [value for metric in metrics for value in cells.marks(metric)["value"]]
    (log_ms_axis if percentiles else rps_axis)(ax, values)
    log2_axis(ax, cells.levels, "concurrent users")
    labels = []
    for metric, unit in metrics.items():
        medians_of = cells.medians(metric)
        for server in cells.servers:
            medians = medians_of.get(server, {})
            end = draw_line(sheet, ax, cells.where(server=server), metric, unit, medians)
            last = format_figure(medians[max(medians)]) if medians else ""
            text = f"{titles.name(server)} {metric.removesuffix('_ms') if percentiles else last}"
            if end:
                labels.append(Label(*end, text.strip(), text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet


def draw_line(
    sheet: Sheet, ax: Axes, cells: Cells, metric: str, unit: str, medians: dict[int, float]
) -> Place | None:
    """Draws one server's `metric` by users; returns where its label belongs, None if nowhere.

    The line breaks at a level without a valid median: nothing is interpolated across it.
    """
    marks = cells.marks(metric)
    for _, row in marks.iterrows():
        draw_mark(sheet, ax, cells, row, (row["users"], row["value"]), unit)
    (server,) = cells.servers
    ys = [medians.get(level, float("nan")) for level in cells.levels]
    draw_medians(ax, server, cells.levels, ys, tail=metric == "p95_ms")
    for level, value in medians.items():
        sheet.add_value(ax, (level, value), median_text(server, level, value, unit))
    last = int(marks["users"].max()) if len(marks) else 0
    highest = marks.loc[marks["users"] == last, "value"].max()
    return (last, medians.get(last, highest)) if last else None


def draw_medians(
    ax: Axes, server: str, xs: Sequence[float], ys: Sequence[float], *, tail: bool = False
) -> None:
    """A line, and each median as a point as well: a level between two gaps is no line."""
    ink = style.colour(server)
    ax.plot(xs, ys, style.dashes(server, tail=tail), color=ink, **style.UNCLIPPED)
    ax.plot(xs, ys, color=ink, markersize=style.POINT - 2 * tail, **style.MARK)


def draw_mark(sheet: Sheet, ax: Axes, cells: Cells, row: pd.Series, place: Place, unit: str) -> None:
    """One cell: a cross where it is invalid, hollow where it is under its sample floor, else a faint dot."""
    invalid, thin = row["status"] == "invalid", row["thin"]
    if not (invalid or thin or cells.repeats > 1):
        return
    look = style.INVALID if invalid else style.HOLLOW if thin else style.REPEAT
    ax.plot(*place, color=style.colour(row["server"]), **look)
    value = f"{format_exact(row['value'])} {unit}"
    if thin:
        value = f"too few requests for a {unit.removeprefix('ms ')}"
    users, state = format_users(int(row["users"])), ", invalid" if invalid else ""
    text = f"{titles.name(row['server'])}, {users}, repeat {row['repeat']}{state}: {value}"
    sheet.add_value(ax, place, text)


def median_text(server: str, level: int, value: float, unit: str) -> str:
    return f"{titles.name(server)}, {format_users(level)}: {format_exact(value)} {unit}"
