"""One server's figures along the users axis: the median as a line, every cell as a mark."""

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import titles
from benchmark.charts.data import PERCENTILES, Cells
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import colour, dashes
from benchmark.stats.formatting import format_exact, format_users

LINE, POINT = 4.5, 10
DOT, HOLLOW, CROSS = 8, 10, 13

Place = tuple[float, float]


def value_of(cells: Cells, row: pd.Series, metric: str) -> tuple[float, bool]:
    """The figure of the cell in `row`, and whether it is too thin for print (under its sample floor)."""
    value = float(row[metric])
    if metric in PERCENTILES and pd.isna(value) and row["status"] != "failed":
        return cells.estimate(row, metric), True
    return value, False


def mark(ax: Axes, row: pd.Series, place: Place, *, thin: bool, several: bool) -> None:
    """One cell: a cross where it is invalid, hollow where it is thin, else a faint dot."""
    ink = colour(row["server"])
    if row["status"] == "invalid":
        ax.plot(*place, "x", color=ink, markersize=CROSS, markeredgewidth=3.5, zorder=4, clip_on=False)
    elif thin:
        (dot,) = ax.plot(*place, "o", color=ink, markersize=HOLLOW, zorder=4, clip_on=False)
        dot.set(markerfacecolor="white", markeredgewidth=3)
    elif several:
        ax.plot(
            *place,
            "o",
            color=ink,
            markersize=DOT,
            alpha=0.35,
            markeredgewidth=0,
            clip_on=False,
        )


def told(row: pd.Series, value: float, unit: str, *, thin: bool) -> str:
    """One cell's figure for a reader who points at its mark; one under its sample floor is never printed."""
    figure = f"too few requests for a {unit.removeprefix('ms ')}" if thin else f"{format_exact(value)} {unit}"
    state = ", invalid" if row["status"] == "invalid" else ""
    users = format_users(int(row["users"]))
    return f"{titles.name(row['server'])}, {users}, repeat {row['repeat']}{state}: {figure}"


def told_median(server: str, level: int, value: float, unit: str) -> str:
    return f"{titles.name(server)}, {format_users(level)}: {format_exact(value)} {unit}"


def draw(sheet: Sheet, ax: Axes, cells: Cells, metric: str, unit: str, *, tail: bool = False) -> Place | None:
    """Draws `metric` of one server's `cells` by users; returns where its label belongs, None if nowhere.

    The line breaks at a level without a valid median: nothing is interpolated across it. `unit` follows
    the figure that a reader sees on hover.
    """
    marks: list[Place] = []
    for row in cells.rows():
        value, thin = value_of(cells, row, metric)
        if pd.notna(value) and row["status"] != "failed":
            place = (float(row["users"]), value)
            mark(ax, row, place, thin=thin, several=cells.repeats > 1)
            if cells.repeats > 1 or thin or row["status"] == "invalid":
                sheet.tell(ax, place, told(row, value, unit, thin=thin))
            marks.append(place)
    ((server, levels),) = cells.medians(metric).items()
    ink = colour(server)
    xs = cells.levels
    ys = [levels.get(level, float("nan")) for level in xs]
    ax.plot(
        xs, ys, dashes(server, tail=tail), color=ink, linewidth=LINE, solid_capstyle="round", clip_on=False
    )
    # A level between two gaps is no line, so each median is a point as well.
    ax.plot(xs, ys, "o", color=ink, markersize=POINT if not tail else POINT - 2, clip_on=False)
    for level, value in levels.items():
        sheet.tell(ax, (level, value), told_median(server, level, value, unit))
    if levels and max(levels) == max((x for x, _ in marks), default=0):
        return max(levels), levels[max(levels)]
    return max(marks, default=None)
