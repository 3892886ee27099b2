"""Throughput, latency and batch size by concurrent users: the median as a line, every cell as a mark."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import sentences, style, titles
from benchmark.charts.axes import log2_axis, log_ms_axis, rps_axis
from benchmark.charts.caption import caption, dots_note, missing, subtitle
from benchmark.charts.data import PERCENTILES, Cells, RunData, Slice
from benchmark.charts.labels import Label, Place, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.stats.formatting import format_exact, format_figure, format_users


def throughput(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    medians = cells.medians("throughput_rps")
    sheet = Sheet(
        sentences.throughput(medians, part.task),
        subtitle(data, part, "answered requests a second by concurrent users"),
        caption(data, cells, [dots_note(cells), *missing(cells)]),
    )
    ax = sheet.figure.subplots()
    ax.set_title("requests a second")
    rps_axis(ax, list(cells.frame["throughput_rps"].dropna()))
    names = {
        server: f"{titles.name(server)} {format_figure(levels[max(levels)])}"
        if levels
        else titles.name(server)
        for server, levels in medians.items()
    }
    draw_lines(sheet, ax, cells, {"throughput_rps": "requests a second"}, names)
    return sheet


def latency(data: RunData, part: Slice) -> Sheet:
    cells, metrics = data.of(part), {"p50_ms": "ms p50", "p95_ms": "ms p95"}
    sheet = Sheet(
        sentences.latency(cells.medians("p50_ms"), part.task),
        subtitle(data, part, "latency of a request in ms, p50 solid, p95 dashed"),
        caption(data, cells, [dots_note(cells), *missing(cells, [*metrics])]),
    )
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    log_ms_axis(ax, [value_of(cells, row, metric)[0] for row in cells.rows() for metric in metrics])
    draw_lines(sheet, ax, cells, metrics, {server: titles.name(server) for server in cells.servers})
    return sheet


def batch_size(data: RunData, part: Slice) -> Sheet:
    """Mean texts in a batch, of the servers that report their batches."""
    cells = data.of(part).with_figure("batch_size_mean")
    sheet = Sheet(
        sentences.batch_size(cells.medians("batch_size_mean"), part.task),
        subtitle(data, part, "mean texts in a batch that the model runs"),
        caption(data, cells, [dots_note(cells), *missing(cells)]),
    )
    ax = sheet.figure.subplots()
    ax.set_title("texts a batch")
    rps_axis(ax, list(cells.frame["batch_size_mean"]))
    names = {server: titles.name(server) for server in cells.servers}
    draw_lines(sheet, ax, cells, {"batch_size_mean": "texts a batch"}, names)
    return sheet


def draw_lines(sheet: Sheet, ax: Axes, cells: Cells, metrics: dict[str, str], names: dict[str, str]) -> None:
    """A line a server and metric, labelled at its end; `metrics` have the unit of their hover texts."""
    log2_axis(ax, cells.levels, "concurrent users")
    labels = []
    for server, name in names.items():
        for metric, unit in metrics.items():
            end = draw_line(sheet, ax, cells.where(server=server), metric, unit)
            text = f"{name} {metric.removesuffix('_ms')}" if len(metrics) > 1 else name
            if end is not None:
                labels.append(Label(*end, text, style.text_colour(server)))
    end_labels(sheet, ax, labels)


def draw_line(sheet: Sheet, ax: Axes, cells: Cells, metric: str, unit: str) -> Place | None:
    """Draws `metric` of one server's `cells` by users; returns where its label belongs, None if nowhere.

    The line breaks at a level without a valid median: nothing is interpolated across it.
    """
    marks: list[Place] = []
    for row in cells.rows():
        value, thin = value_of(cells, row, metric)
        if pd.notna(value) and row["status"] != "failed":
            marks.append((float(row["users"]), value))
            draw_mark(sheet, ax, cells, row, marks[-1], thin, unit)
    ((server, levels),) = cells.medians(metric).items()
    ys = [levels.get(level, float("nan")) for level in cells.levels]
    draw_medians(ax, server, cells.levels, ys, tail=metric == "p95_ms")
    for level, value in levels.items():
        sheet.add_value(ax, (level, value), median_text(server, level, value, unit))
    if levels and max(levels) == max((x for x, _ in marks), default=0):
        return max(levels), levels[max(levels)]
    return max(marks, default=None)


def draw_medians(
    ax: Axes, server: str, xs: Sequence[float], ys: Sequence[float], *, tail: bool = False
) -> None:
    """A line, and each median as a point as well: a level between two gaps is no line."""
    ink = style.colour(server)
    ax.plot(xs, ys, style.dashes(server, tail=tail), color=ink, **style.UNCLIPPED)
    ax.plot(xs, ys, color=ink, markersize=style.POINT - 2 * tail, **style.MARK)


def value_of(cells: Cells, row: pd.Series, metric: str) -> tuple[float, bool]:
    """The figure of the cell in `row`, and whether it is under its sample floor."""
    value = float(row[metric])
    if metric in PERCENTILES and pd.isna(value) and row["status"] != "failed":
        return cells.estimate(row, metric), True
    return value, False


def draw_mark(
    sheet: Sheet, ax: Axes, cells: Cells, row: pd.Series, place: Place, thin: bool, unit: str
) -> None:
    """One cell: a cross where it is invalid, hollow where it is under its sample floor, else a faint dot."""
    invalid = row["status"] == "invalid"
    if not (invalid or thin or cells.repeats > 1):
        return
    look = style.INVALID if invalid else style.HOLLOW if thin else style.REPEAT
    ax.plot(*place, color=style.colour(row["server"]), **look)
    value = (
        f"too few requests for a {unit.removeprefix('ms ')}" if thin else f"{format_exact(place[1])} {unit}"
    )
    users, state = format_users(int(row["users"])), ", invalid" if invalid else ""
    text = f"{titles.name(row['server'])}, {users}, repeat {row['repeat']}{state}: {value}"
    sheet.add_value(ax, place, text)


def median_text(server: str, level: int, value: float, unit: str) -> str:
    return f"{titles.name(server)}, {format_users(level)}: {format_exact(value)} {unit}"
