"""What each server answers at one number of users, a panel a task: the finding of a run."""

import pandas as pd

from benchmark.charts import titles
from benchmark.charts.bars import bar_panels, draw_bar
from benchmark.charts.caption import caption, dots_note, missing, texts_of
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import INK, REPEAT
from benchmark.stats.formatting import format_factor, format_users

USERS = 50
METRIC = "throughput_rps"


def parts_of(data: RunData) -> list[Slice]:
    return [part for part in data.slices if part.headline]


def level_of(data: RunData) -> int | None:
    """USERS where they were measured, else the level nearest to them; None without a headline cell."""
    levels = {level for part in parts_of(data) for level in data.of(part).levels}
    return min(levels, key=lambda level: (abs(level - USERS), level)) if levels else None


def rates(data: RunData, level: int) -> dict[str, dict[str, float]]:
    """Task -> server -> median requests a second at `level` users; only servers with a valid cell."""
    return {part.task: titles.at_level(data.of(part).medians(METRIC), level) for part in parts_of(data)}


def headline(data: RunData, level: int) -> Sheet:
    medians = rates(data, level)
    parts = [part for part in parts_of(data) if medians[part.task]]
    cells = Cells(data.files, pd.concat([data.of(part).where(users=level).frame for part in parts]))
    sheet = Sheet(
        titles.headline(medians, level),
        f"Requests answered a second at {format_users(level)}, {texts_of(parts[0])}; times the baseline",
        caption(data, cells, [dots_note(cells, "bar"), *missing(cells, invalid_as="Not drawn")]),
    )
    panels = bar_panels(sheet, cells.servers, [part.task for part in parts])
    for ax, part in zip(panels, parts, strict=True):
        at = medians[part.task]
        reference = at.get(titles.REFERENCE)
        for row, server in enumerate(cells.servers):
            figures = {f"{part.task} requests a second": at[server]} if server in at else {}
            note = ""
            if reference and figures and server != titles.REFERENCE:
                note = f"  ({format_factor(at[server] / reference)})"
            draw_bar(sheet, ax, row, server, figures, note)
            repeats = cells.where(task=part.task, server=server, status="ok").frame[METRIC]
            if len(repeats) > 1:
                ax.plot(repeats, [row] * len(repeats), color=INK, **REPEAT)
        ax.set_xlim(left=0)
    return sheet
