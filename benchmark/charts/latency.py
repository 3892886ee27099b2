"""p50 and p95 latency by concurrent users, one chart a slice."""

from collections.abc import Iterator
from functools import partial

from benchmark.charts import sentences, series, titles
from benchmark.charts.axes import log_ms_axis, users_axis
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import text_colour

PERCENTILES = ("p50_ms", "p95_ms")


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        yield Drawing(f"latency-{part.name}", part, partial(draw, data, part))


def draw(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    dots = "Dot: one repeat; line: their median" if cells.repeats > 1 else ""
    sheet = Sheet(
        sentences.latency(cells.medians("p50_ms"), part.task),
        subtitle(data, part, "latency of a request in ms, p50 solid, p95 dashed"),
        caption(data, cells, [dots, *missing(cells, PERCENTILES)]),
    )
    texts = {
        (server, metric): f"{titles.name(server)} {metric.removesuffix('_ms')}"
        for server in cells.servers
        for metric in PERCENTILES
    }
    ax = sheet.axes(right=room_for(list(texts.values())), unit="ms")
    values = [series.value_of(cells, row, metric)[0] for row in cells.rows() for metric in PERCENTILES]
    log_ms_axis(ax, values)
    users_axis(ax, cells.levels)
    labels = []
    for (server, metric), text in texts.items():
        own, unit = cells.where(server=server), f"ms {metric.removesuffix('_ms')}"
        place = series.draw(sheet, ax, own, metric, unit, tail=metric == "p95_ms")
        if place is not None:
            labels.append(Label(*place, text, text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet
