"""How many texts a batch holds. One chart a slice, where a server tells its batches."""

from collections.abc import Iterator
from functools import partial

from benchmark.charts import series, titles
from benchmark.charts.axes import rps_axis, users_axis
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import text_colour
from benchmark.charts.titles import Medians
from benchmark.stats.formatting import format_figure, format_users

METRIC = "batch_size_mean"


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        if any(data.of(part).medians(METRIC).values()):
            yield Drawing(f"batch-size-{part.name}", part, partial(draw, data, part))


def draw(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    told = Cells(data.files, cells.frame.dropna(subset=[METRIC]))
    dots = "Dot: one repeat; line: their median" if told.repeats > 1 else ""
    sheet = Sheet(
        title(told.medians(METRIC), part.task),
        subtitle(data, part, "mean texts in a batch that the model runs"),
        caption(data, told, [dots, *missing(told)]),
    )
    texts = [titles.name(server) for server in told.servers]
    ax = sheet.axes(right=room_for(texts), unit="texts a batch")
    rps_axis(ax, list(told.frame[METRIC]))
    users_axis(ax, told.levels)
    labels = []
    for server, text in zip(told.servers, texts, strict=True):
        place = series.draw(sheet, ax, told.where(server=server), METRIC, "texts a batch")
        if place is not None:
            labels.append(Label(*place, text, text_colour(server)))
    end_labels(sheet, ax, labels)
    return sheet


def title(medians: Medians, task: str) -> str:
    """How many texts a batch holds, as a sentence, of the server whose batches are largest."""
    medians = titles.present(medians)
    server = max(medians, key=lambda one: medians[one][max(medians[one])])
    levels = medians[server]
    first, last = min(levels), max(levels)
    whose = f"{titles.name(server)}'s {task} batches hold"
    texts = "text" if format_figure(levels[last]) == "1" else "texts"
    told = f"{whose} {format_figure(levels[last])} {texts} at {format_users(last)}"
    if format_figure(levels[first]) == format_figure(levels[last]):
        return told
    return f"{told}, {format_figure(levels[first])} at {first:,}"
