"""Requests a second by concurrent users, one chart a slice."""

from collections.abc import Iterator
from functools import partial

from benchmark.charts import sentences, series, titles
from benchmark.charts.axes import rps_axis, users_axis
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import text_colour
from benchmark.stats.formatting import format_figure


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        yield Drawing(f"throughput-{part.name}", part, partial(draw, data, part))


def draw(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    medians = cells.medians("throughput_rps")
    dots = "Dot: one repeat; line: their median" if cells.repeats > 1 else ""
    sheet = Sheet(
        sentences.throughput(medians, part.task),
        subtitle(data, part, "answered requests a second by concurrent users"),
        caption(data, cells, [dots, *missing(cells)]),
    )
    texts = {server: titles.name(server) for server in cells.servers}
    for server, levels in medians.items():
        if levels:
            texts[server] += f" {format_figure(levels[max(levels)])}"
    ax = sheet.axes(right=room_for(list(texts.values())), unit="requests a second")
    rps_axis(ax, list(cells.frame["throughput_rps"].dropna()))
    users_axis(ax, cells.levels)
    labels = []
    for server in cells.servers:
        place = series.draw(sheet, ax, cells.where(server=server), "throughput_rps", "requests a second")
        if place is not None:
            labels.append(Label(*place, texts[server], text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet
