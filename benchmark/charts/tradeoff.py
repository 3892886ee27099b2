"""p95 latency by achieved requests a second, one chart a slice; each point is one level of users."""

from collections.abc import Iterator
from functools import partial
from statistics import median

import pandas as pd

from benchmark.charts import sentences, series, titles
from benchmark.charts.axes import log_ms_axis, rps_axis, x_label
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.labels import Label, boxes_of_line, near_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, MARGIN, MUTED, PEER, SUBTITLE, colour, dashes, text_colour
from benchmark.stats.formatting import format_exact, format_figure

METRIC = "p95_ms"
NOWHERE = (float("nan"), float("nan"))


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        yield Drawing(f"p95-by-rps-{part.name}", part, partial(draw, data, part))


def draw(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    slo_ms = data.slo_ms(part.task)
    rps, p95 = cells.medians("throughput_rps"), cells.medians(METRIC)
    dots = "Dot: one repeat; line: the medians" if cells.repeats > 1 else ""
    sheet = Sheet(
        sentences.tradeoff(rps, p95, slo_ms, part.task),
        subtitle(data, part, "p95 in ms by achieved requests a second; figures: users"),
        caption(data, cells, [dots, *missing(cells, [METRIC])]),
    )
    ax = sheet.axes(right=sheet.width - MARGIN - 20, unit="ms")
    marks = [(row, *series.value_of(cells, row, METRIC)) for row in cells.rows() if row["status"] != "failed"]
    log_ms_axis(ax, [value for _, value, _ in marks] + ([slo_ms] if slo_ms else []))
    rps_axis(ax, list(cells.frame["throughput_rps"].dropna()), horizontal=True)
    x_label(ax, "requests a second")
    spots: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row, value, thin in marks:
        if pd.notna(value):
            place = (float(row["throughput_rps"]), value)
            series.mark(ax, row, place, thin=thin, several=cells.repeats > 1)
            if cells.repeats > 1 or thin or row["status"] == "invalid":
                rate = f"p95 at {format_exact(place[0])} requests a second"
                sheet.tell(ax, place, series.told(row, value, f"ms {rate}", thin=thin))
            spots.setdefault((row["server"], int(row["users"])), []).append(place)
    ends, levels = [], []
    taken = [box for places in spots.values() for place in places for box in boxes_of_line(ax, [place])]
    for server in cells.servers:
        line, places = [], []
        for level in cells.where(server=server).levels:
            valid = level in p95[server]
            place = (rps[server][level], p95[server][level]) if valid else middle(spots.get((server, level)))
            line.append(place if valid else NOWHERE)
            if place != NOWHERE:
                places.append(place)
                if valid:
                    unit = f"ms p95 at {format_exact(place[0])} requests a second"
                    sheet.tell(ax, place, series.told_median(server, level, place[1], unit))
                levels.append(Label(*place, f"{level:,}", MUTED))
        xs, ys = zip(*line, strict=True)
        ink = colour(server)
        ax.plot(xs, ys, dashes(server), color=ink, linewidth=series.LINE, clip_on=False)
        ax.plot(xs, ys, "o", color=ink, markersize=series.POINT, clip_on=False)
        taken += boxes_of_line(ax, places)
        if places:
            ends.append(Label(*places[-1], titles.name(server), text_colour(server)))
    if slo_ms:
        edge = ax.get_xlim()[1]
        ax.axhline(slo_ms, color=PEER, linestyle="--", linewidth=2)
        taken += boxes_of_line(ax, [(0, slo_ms), (edge, slo_ms)], half=4)
    near_labels(sheet, ax, ends, taken, LABEL)
    if slo_ms:
        near_labels(
            sheet, ax, [Label(edge / 2, slo_ms, f"limit {format_figure(slo_ms)} ms", PEER)], taken, SUBTITLE
        )
    near_labels(sheet, ax, levels, taken, SUBTITLE)
    return sheet


def middle(places: list[tuple[float, float]] | None) -> tuple[float, float]:
    """The median place of marks that no valid median stands for."""
    if not places:
        return NOWHERE
    xs, ys = zip(*places, strict=True)
    return median(xs), median(ys)
