"""p95 latency by achieved requests a second; each point is one level of users."""

from benchmark.charts import sentences, titles
from benchmark.charts.axes import log_ms_axis, rps_axis
from benchmark.charts.by_users import draw_mark, draw_medians, median_text
from benchmark.charts.caption import caption, dots_note, missing, subtitle
from benchmark.charts.data import RunData, Slice
from benchmark.charts.labels import Label, Place, near_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import MUTED, SUBTITLE, text_colour
from benchmark.stats.formatting import format_exact

METRIC = "p95_ms"
NOWHERE = (float("nan"), float("nan"))


def tradeoff(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    rps, p95 = cells.medians("throughput_rps"), cells.medians(METRIC)
    sheet = Sheet(
        sentences.tradeoff(rps, p95, part.task),
        subtitle(data, part, "p95 in ms by achieved requests a second; figures: users"),
        caption(data, cells, [dots_note(cells), *missing(cells, [METRIC])]),
    )
    ax = sheet.figure.subplots()
    ax.set_title("ms")
    ax.set_xlabel("requests a second")
    marks = cells.marks(METRIC)
    log_ms_axis(ax, [*marks["value"]])
    rps_axis(ax, [*cells.frame["throughput_rps"]], horizontal=True)
    for _, row in marks.iterrows():
        place = (row["throughput_rps"], row["value"])
        draw_mark(sheet, ax, cells, row, place, unit_at(place))
    names, figures = [], []
    lines = [[place] for place in marks[["throughput_rps", "value"]].itertuples(index=False, name=None)]
    for server in cells.servers:
        own = cells.where(server=server)
        valid = {level: (rps[server][level], value) for level, value in p95[server].items()}
        draw_medians(ax, server, *zip(*[valid.get(level, NOWHERE) for level in own.levels], strict=True))
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
