"""Stairs: requests a second after each decision, each with its own factor. One chart a task and level."""

from collections.abc import Iterator, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator

from benchmark.charts.caption import caption, missing, texts_of
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.titles import figure, times, users
from benchmark.ladder import APART, CLIMB
from benchmark.ladder_figures import Step, ladder_of
from benchmark.style import (
    LABEL,
    LEFT_AXIS,
    MARGIN,
    MUTED,
    SUBTITLE,
    WIDTH,
    Sheet,
    colour,
    points,
    rps_axis,
    text_colour,
)

BETWEEN = 96  # from the stairs to the steps that stand apart: room for their own scale
NAMES_HEIGHT = 0.22  # of the free height: three lines under the axis
HEADROOM = 1.2  # over the highest tread, for its figures


def drawings(data: RunData) -> Iterator[Drawing]:
    ladder = ladder_of(data.files)
    for task, level in dict.fromkeys((step.task, step.users) for step in ladder):
        part = Slice(task, CLIMB, 1)
        own = [step for step in ladder if (step.task, step.users) == (task, level)]
        yield Drawing(f"ladder-{task}-u{level}", part, partial(draw, data, part, own, level))


def draw(data: RunData, part: Slice, ladder: Sequence[Step], level: int) -> Sheet:
    cells = data.where(task=part.task, users=level)
    climb = [step for step in ladder if step.rung.workload == CLIMB]
    apart = [step for step in ladder if step.rung.workload == APART]
    dots = "Faint dot: one repeat; tread: their median" if cells.repeats > 1 else ""
    sheet = Sheet(
        title(climb, part.task),
        f"{part.task.capitalize()}, {users(level)}, {texts_of(part)}: requests a second after each decision, "
        "and its own factor with its interval",
        caption(data, cells, [dots, apart_note(apart), *missing(cells)]),
    )
    width = WIDTH - 2 * MARGIN - LEFT_AXIS - (BETWEEN if apart else 0)
    share = len(climb) / max(len(climb) + len(apart), 1)
    end = MARGIN + LEFT_AXIS + width * share
    stairs(sheet.axes(right=end, bottom=NAMES_HEIGHT, unit="requests a second"), cells, climb)
    if apart:
        ax = sheet.axes(left=end + BETWEEN, bottom=NAMES_HEIGHT)
        stairs(ax, cells, apart)
        ax.set_title(
            "repeated texts, own scale", fontsize=points(SUBTITLE), color=MUTED, loc="left", pad=points(14)
        )
    return sheet


def stairs(ax: Axes, cells: Cells, steps: Sequence[Step]) -> None:
    """One tread a step, as high as its throughput; invalid repeats are crosses."""
    heights = [step.figures["throughput_rps"] or 0.0 for step in steps]
    rps_axis(ax, [height * HEADROOM for height in heights])
    for place, (step, height) in enumerate(zip(steps, heights, strict=True)):
        frame = cells.where(server=step.rung.configuration, workload=step.rung.workload).frame
        server = servers(cells)[step.rung.configuration]
        ax.bar(place, height, width=1, color=colour(server), alpha=0.25, linewidth=0)
        ax.plot([place - 0.5, place + 0.5], [height] * 2, color=colour(server), linewidth=5)
        for _, row in frame[frame["status"] != "failed"].iterrows():
            invalid = row["status"] == "invalid"
            ax.plot(
                place + 0.13 * (row["repeat"] - (cells.repeats + 1) / 2),
                row["throughput_rps"],
                "x" if invalid else "o",
                color=colour(server),
                markersize=11 if invalid else 7,
                alpha=1 if invalid else 0.4 if cells.repeats > 1 else 0,
                clip_on=False,
            )
        lines = [figure(height) if height else "no valid cell"]
        if step.factor:
            interval = step.factor.interval
            lines.append(times(step.factor.value))
            small = f"{times(interval.low).removesuffix('x')}–{times(interval.high)}"
            write(ax, small, place, height, 8, SUBTITLE - 4, MUTED)
        for index, line in enumerate(reversed(lines)):
            above = (30 if step.factor else 8) + index * LABEL * 1.15
            write(
                ax,
                line,
                place,
                height,
                above,
                LABEL,
                text_colour(server),
                bold=step.factor is not None and not index,
            )
    ax.set_xlim(-0.5, len(steps) - 0.5)
    ax.xaxis.set_major_locator(FixedLocator(list(range(len(steps)))))
    ax.xaxis.set_major_formatter(FixedFormatter([under(step) for step in steps]))
    ax.tick_params(axis="x", labelsize=points(SUBTITLE))


def write(
    ax: Axes, text: str, x: float, y: float, above: float, size: float, ink: str, *, bold: bool = False
) -> None:
    ax.annotate(
        text,
        (x, y),
        (0, points(above)),
        textcoords="offset points",
        fontsize=points(size),
        color=ink,
        weight="bold" if bold else "normal",
        ha="center",
        va="bottom",
    )


def under(step: Step) -> str:
    """What stands under a tread: the decision in two lines, and its p95."""
    first, _, rest = step.rung.decision.partition(" ")
    p95_ms = step.figures["p95_ms"]
    return f"{first}\n{rest}\n" + (f"p95 {figure(p95_ms)} ms" if p95_ms is not None else "p95: too few")


def servers(cells: Cells) -> dict[str, str]:
    """Configuration -> the server folder that it runs."""
    records = cells.files.read_cells()
    return {record["cell"]["server"]: record["configuration"]["server"] for record in records}


def apart_note(apart: Sequence[Step]) -> str:
    """What the steps that stand apart are: other texts, so another scale."""
    hits = [step.figures["cache_hit_rate"] for step in apart if step.figures["cache_hit_rate"] is not None]
    if not hits:
        return ""
    return f"Apart: one server without and with Redis on repeated texts (zipf), {hits[-1]:.0%} cache hits"


def title(climb: Sequence[Step], task: str) -> str:
    """What the climb comes to, as a sentence with its numbers."""
    measured = [step for step in climb if step.figures["throughput_rps"]]
    if len(measured) < 2:
        return f"Too few valid {task} cells for a ladder"
    first, last = (one.figures["throughput_rps"] or 0.0 for one in (measured[0], measured[-1]))
    told = f"From {figure(first)} to {figure(last)} {task} requests a second, {times(last / first)}"
    factors = [(step.factor.value, step.rung.decision) for step in measured if step.factor]
    if not factors:
        return told
    most, decision = max(factors)
    return f"{told}: {decision} alone gives {times(most)}"
