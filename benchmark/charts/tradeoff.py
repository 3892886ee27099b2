"""p95 latency by achieved requests a second; each point is one level of users."""

from collections import defaultdict

import numpy as np
import pandas as pd

from benchmark.charts import sentences, style, titles
from benchmark.charts.axes import log_ms_axis, rps_axis
from benchmark.charts.by_users import Place, draw_mark, draw_medians, median_text, value_of
from benchmark.charts.caption import caption, dots_note, missing, subtitle
from benchmark.charts.data import RunData, Slice
from benchmark.charts.labels import Label, near_labels
from benchmark.charts.sheet import Sheet
from benchmark.stats.formatting import format_exact

METRIC = "p95_ms"


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
    marks = [(row, *value_of(cells, row, METRIC)) for row in cells.rows() if row["status"] != "failed"]
    log_ms_axis(ax, [value for _, value, _ in marks])
    rps_axis(ax, list(cells.frame["throughput_rps"].dropna()), horizontal=True)
    spots: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for row, value, thin in marks:
        if pd.notna(value):
            place = (float(row["throughput_rps"]), value)
            draw_mark(sheet, ax, cells, row, place, thin, unit_at(place))
            spots[row["server"], int(row["users"])].append(place)
    names, figures, lines = [], [], []
    for server in cells.servers:
        levels = {level: (rps[server][level], p95[server][level]) for level in sorted(p95[server])}
        line = [levels.get(level, (np.nan, np.nan)) for level in cells.where(server=server).levels]
        draw_medians(ax, server, *zip(*line, strict=True))
        lines.append([*levels.values()])
        for level, place in levels.items():
            sheet.add_value(ax, place, median_text(server, level, place[1], unit_at(place)))
        # Marks that no valid median stands for are labelled in their middle.
        rest = {level: own for (one, level), own in spots.items() if one == server and level not in levels}
        levels |= {level: tuple(np.median(own, axis=0)) for level, own in rest.items()}
        for level, place in levels.items():
            figures.append(Label(*place, f"{level:,}", style.MUTED, style.SUBTITLE))
        if levels:
            names.append(Label(*levels[max(levels)], titles.name(server), style.text_colour(server)))
    near_labels(
        sheet, ax, [*figures, *names], [*lines, *([place] for own in spots.values() for place in own)]
    )
    return sheet


def unit_at(place: Place) -> str:
    return f"ms p95 at {format_exact(place[0])} requests a second"
