"""Stairs: requests a second after each decision, each with its own factor. One chart a task and level."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmark.charts.caption import caption, missing, texts_of
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import INK, LABEL, MARGIN, MUTED, SUBTITLE, colour, points, text_colour, width_of
from benchmark.experiments.ladder import APART, CLIMB
from benchmark.experiments.ladder_figures import Step, ladder_of
from benchmark.stats.formatting import format_factor, format_figure, format_users

GAP = 24
ROOM_BELOW = 0.16  # of the free height: no x axis needs it
APART_ROWS = 1.15  # between the climb and the steps apart, with their heading
# A column's heading, and the widest text that it may hold; where there is little room the last one goes.
COLUMNS: Sequence[tuple[str, str]] = (
    ("RPS", "0,000"),
    ("own factor", "00.0x (0.0–0.0)"),
    ("p95 ms", "00,000"),
)
LEAST_FOR_BARS = 0.2  # of the sheet's width


def drawings(data: RunData) -> Iterator[Drawing]:
    ladder = ladder_of(data.files)
    for task, level in dict.fromkeys((step.task, step.users) for step in ladder):
        part = Slice(task, CLIMB, 1)
        own = [step for step in ladder if (step.task, step.users) == (task, level)]
        yield Drawing(chart_name(task, level), part, partial(draw, data, part, own, level))


def chart_name(task: str, level: int) -> str:
    return f"ladder-{task}-u{level}"


def draw(data: RunData, part: Slice, ladder: Sequence[Step], level: int) -> Sheet:
    cells = data.where(task=part.task, users=level)
    climb = [step for step in ladder if step.rung.workload == CLIMB]
    apart = [step for step in ladder if step.rung.workload == APART]
    dots = "Faint dot: one repeat; bar: their median" if cells.repeats > 1 else ""
    sheet = Sheet(
        title(climb, part.task),
        f"{format_users(level)}, {texts_of(part)}: one decision more on each step",
        caption(data, cells, [dots, *missing(cells)]),
    )
    columns, size = COLUMNS, LABEL
    left, right, names, widths = layout(sheet, ladder, columns, size)
    if right - left < LEAST_FOR_BARS * sheet.width:
        columns, size = COLUMNS[:-1], SUBTITLE
        left, right, names, widths = layout(sheet, ladder, columns, size)
    ax = sheet.axes(left=left, right=right, bottom=-ROOM_BELOW)
    rows = len(climb) + (APART_ROWS + len(apart) if apart else 0)
    ax.set_xlim(0, 1)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.spines["bottom"].set_visible(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(NullLocator())
    ends = [right - left + sum(widths[: column + 1]) for column in range(len(widths))]
    for end, (heading, _) in zip(ends, columns, strict=True):
        write(ax, heading, end, -0.62, SUBTITLE, MUTED, ha="right", va="bottom")
    stairs(sheet, ax, cells, climb, 0, ends, size)
    if apart:
        row = len(climb) + APART_ROWS
        write(ax, apart_note(apart), -names - GAP, row - 0.62, SUBTITLE, MUTED, va="bottom")
        stairs(sheet, ax, cells, apart, row, ends, size)
    return sheet


def layout(
    sheet: Sheet, ladder: Sequence[Step], columns: Sequence[tuple[str, str]], size: float
) -> tuple[float, float, float, list[float]]:
    """Where the bars begin and end, and the widths of names and columns whose texts are `size` high."""
    names = max(width_of(step.rung.decision, size) for step in ladder)
    widths = [width_of(text, size) + GAP for _, text in columns]
    return MARGIN + names + GAP, sheet.width - MARGIN - sum(widths), names, widths


def stairs(
    sheet: Sheet,
    ax: Axes,
    cells: Cells,
    steps: Sequence[Step],
    first_row: float,
    ends: Sequence[float],
    size: float,
) -> None:
    """One bar a step from `first_row` down, the longest as wide as the axes, its figures in the columns."""
    shown = [cells.where(server=step.rung.configuration, workload=step.rung.workload).frame for step in steps]
    most = float(pd.concat(shown)["throughput_rps"].max())
    scale = most if most > 0 else 1.0
    for index, (step, frame) in enumerate(zip(steps, shown, strict=True)):
        row = first_row + index
        server = servers(cells)[step.rung.configuration]
        rps = step.figures["throughput_rps"]
        length = (rps or 0.0) / scale
        ax.barh(row, length, height=1, color=colour(server), alpha=0.85, linewidth=0)
        for _, one in frame[frame["status"] != "failed"].iterrows():
            mark(ax, one["throughput_rps"] / scale, row, one["status"] == "invalid", cells.repeats)
        write(ax, step.rung.decision, -GAP, row, size, text_colour(server), ha="right")
        texts = (
            format_figure(rps) if rps else "not valid",
            factor_text(step),
            format_figure(step.figures["p95_ms"]) if step.figures["p95_ms"] else "too few",
        )
        for end, text in zip(ends, texts[: len(ends)], strict=True):
            write(ax, text, end, row, size, INK if text[:1].isdigit() else MUTED, ha="right")
        if rps:
            sheet.tell(ax, (0, row - 0.5), told(step), (length, row + 0.5))


def mark(ax: Axes, x: float, row: float, invalid: bool, repeats: int) -> None:
    """One repeat: a cross where it is invalid, else a faint dot."""
    if invalid:
        ax.plot(x, row, "x", color=INK, markersize=11, markeredgewidth=3, clip_on=False)
    elif repeats > 1:
        ax.plot(x, row, "o", color=INK, markersize=7, alpha=0.35, markeredgewidth=0, clip_on=False)


def write(
    ax: Axes, text: str, x: float, row: float, size: float, ink: str, *, ha: str = "left", va: str = "center"
) -> None:
    """`text` at a row, `x` logical pixels right of where the bars begin."""
    ax.annotate(
        text,
        (0, row),
        (points(x), 0),
        textcoords="offset points",
        fontsize=points(size),
        color=ink,
        ha=ha,
        va=va,
        annotation_clip=False,
    )


def factor_text(step: Step) -> str:
    if not step.factor:
        return ""
    factor, interval = format_factor(step.factor.value), step.factor.interval
    if not interval:
        return factor
    low, high = (format_factor(one).removesuffix("x") for one in (interval.low, interval.high))
    return f"{factor} ({low}–{high})"


def told(step: Step) -> str:
    """A step in one sentence, for who points at it."""
    factor = f", {factor_text(step)} of the step above" if step.factor else ""
    p95_ms = step.figures["p95_ms"]
    latency = f", p95 {format_figure(p95_ms)} ms" if p95_ms else ""
    return f"{step.rung.decision}: {format_figure(step.figures['throughput_rps'])} RPS{factor}{latency}"


def servers(cells: Cells) -> dict[str, str]:
    """Configuration -> the server folder that it runs."""
    records = cells.files.read_cells()
    return {record["cell"]["server"]: record["configuration"]["server"] for record in records}


def apart_note(apart: Sequence[Step]) -> str:
    """What the steps that stand apart are: other texts, so a scale of their own."""
    hits = [step.figures["cache_hit_rate"] for step in apart if step.figures["cache_hit_rate"]]
    found = f", {hits[-1]:.1%} cache hits" if hits else ""
    return f"apart, on its own scale: repeated texts{found}"


def title(climb: Sequence[Step], task: str) -> str:
    """What the climb comes to, as a sentence with its numbers."""
    measured = [step for step in climb if step.figures["throughput_rps"]]
    if len(measured) < 2:
        return f"Too few valid {task} cells for a ladder"
    first, last = (one.figures["throughput_rps"] or 0.0 for one in (measured[0], measured[-1]))
    climbed = (
        f"From {format_figure(first)} to {format_figure(last)} {task} requests a "
        f"second, {format_factor(last / first)}"
    )
    if len(measured) < len(climb):
        return f"{climbed}, with {len(measured)} of {len(climb)} steps valid"
    factors = [(step.factor.value, step.rung.decision) for step in measured if step.factor]
    if not factors:
        return climbed
    most, decision = max(factors)
    return f"{climbed}: {decision} alone gives {format_factor(most)}"
