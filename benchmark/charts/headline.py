"""What each server answers at one number of users, every task beside the others: the finding of a run."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmark.charts import sentences, titles
from benchmark.charts.caption import caption, missing, texts_of
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import (
    INK,
    LABEL,
    MARGIN,
    MUTED,
    SUBTITLE,
    colour,
    fitting,
    points,
    text_colour,
    width_of,
)
from benchmark.stats.formatting import format_exact, format_factor, format_figure, format_users

NAME = "headline"
USERS = 50
METRIC = "throughput_rps"
BETWEEN = 44
THICK = 0.46  # of a bar, in rows


def drawings(data: RunData) -> Iterator[Drawing]:
    level = level_of(data)
    if level is not None and any(len(found) > 1 for found in rates(data, level).values()):
        yield Drawing(NAME, None, partial(draw, data, level))


def parts_of(data: RunData) -> list[Slice]:
    return [part for part in data.slices if part.headline]


def level_of(data: RunData) -> int | None:
    """USERS where they were measured, else the level beside them; None without a headline cell."""
    levels = {level for part in parts_of(data) for level in data.of(part).levels}
    return min(levels, key=lambda level: (abs(level - USERS), level)) if levels else None


def rates(data: RunData, level: int) -> dict[str, dict[str, float]]:
    """Task -> server -> median requests a second at `level` users; only servers with a valid cell."""
    return {part.task: titles.at_level(data.of(part).medians(METRIC), level) for part in parts_of(data)}


def draw(data: RunData, level: int) -> Sheet:
    found = rates(data, level)
    parts = [part for part in parts_of(data) if found[part.task]]
    shown = Cells(data.files, pd.concat([data.of(part).where(users=level).frame for part in parts]))
    dots = "Dot: one repeat; bar: their median" if shown.repeats > 1 else ""
    sheet = Sheet(
        sentences.headline(found, level),
        f"Requests answered a second at {format_users(level)}, {texts_of(parts[0])}; times the baseline",
        caption(data, shown, [dots, *missing(shown, invalid_as="Not drawn")]),
    )
    names = max(width_of(titles.name(server), LABEL) for server in shown.servers) + 20
    width = (sheet.width - 2 * MARGIN - names - BETWEEN * (len(parts) - 1)) / len(parts)
    for index, part in enumerate(parts):
        left = MARGIN + names + index * (width + BETWEEN)
        ax = sheet.axes(left=left, right=left + width)
        ax.set_title(part.task, fontsize=points(SUBTITLE), color=MUTED, loc="left", pad=points(12))
        bars(sheet, ax, shown.where(task=part.task), shown.servers, found[part.task], width)
        if index == 0:
            name_rows(ax, shown.servers)
    return sheet


def bars(
    sheet: Sheet, ax: Axes, cells: Cells, servers: list[str], found: dict[str, float], width: float
) -> None:
    """One bar a server, its rate and its ratio to the baseline above it, each repeat as a faint dot."""
    reference, task = found.get(titles.REFERENCE), cells.frame["task"].iloc[0]
    for row, server in enumerate(servers):
        text, ink = "no valid figure", MUTED
        if server in found:
            text, ink = format_figure(found[server]), text_colour(server)
            if reference and server != titles.REFERENCE:
                text += f"  ({format_factor(found[server] / reference)})"
            ax.barh(row, found[server], height=THICK, color=colour(server))
            told = f"{titles.name(server)}, {task}: {format_exact(found[server])} requests a second"
            sheet.tell(ax, (0, row - THICK / 2), told, (found[server], row + THICK / 2))
        valid = cells.where(server=server, status="ok").frame[METRIC]
        if len(valid) > 1:
            ax.plot(valid, [row] * len(valid), "o", color=INK, markersize=7, alpha=0.3, markeredgewidth=0)
        ax.annotate(
            text,
            (0, row - THICK / 2),
            (0, points(5)),
            textcoords="offset points",
            fontsize=points(fitting(text, LABEL, width)),
            color=ink,
        )
    # Room beyond the largest for its dot.
    ax.set_xlim(0, 1.03 * max([*found.values(), *cells.where(status="ok").frame[METRIC]], default=0) or 1)
    ax.set_ylim(len(servers) - 0.5, -0.7)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(NullLocator())
    ax.spines["bottom"].set_visible(False)


def name_rows(ax: Axes, servers: list[str]) -> None:
    """Writes the servers' names left of their bars."""
    for row, server in enumerate(servers):
        ax.annotate(
            titles.name(server),
            (0, row),
            (points(-14), 0),
            textcoords="offset points",
            fontsize=points(LABEL),
            color=text_colour(server),
            ha="right",
            va="center",
        )
