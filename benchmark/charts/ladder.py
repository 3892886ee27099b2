"""Stairs: requests a second after each decision, each with its own factor. One chart a task and level."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate

from matplotlib.axes import Axes

from benchmark.charts import style
from benchmark.charts.axes import write
from benchmark.charts.bars import bare, name_rows
from benchmark.charts.caption import caption, dots_note, missing, texts_of
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import INK, LABEL, MARGIN, MUTED, SUBTITLE
from benchmark.experiments.ladder import APART, CLIMB
from benchmark.experiments.ladder_figures import Step, ladder_of
from benchmark.stats.formatting import format_factor, format_figure, format_ms, format_users
from benchmark.stats.intervals import format_ratio

APART_ROWS = 1.15  # between the climb and the steps apart, with their heading
# A column's heading and width; a narrow sheet has no room for the last one.
COLUMNS = (("RPS", 110), ("speed-up", 335), ("p95 ms", 130))


def drawings(data: RunData) -> Iterator[Drawing]:
    ladder = ladder_of(data.files)
    for task, level in dict.fromkeys((step.task, step.users) for step in ladder):
        part = Slice(task, CLIMB, 1)
        own = [step for step in ladder if (step.task, step.users) == (task, level)]
        yield Drawing(f"ladder-{task}-u{level}", part, partial(draw, data, part, own, level))


def draw(data: RunData, part: Slice, ladder: Sequence[Step], level: int) -> Sheet:
    cells = data.where(task=part.task, users=level)
    climb, apart = ([step for step in ladder if step.rung.workload == one] for one in (CLIMB, APART))
    sheet = Sheet(
        title(climb, part.task),
        f"{format_users(level)}, {texts_of(part)}: one decision more on each step",
        caption(data, cells, [dots_note(cells, "bar"), *missing(cells)]),
    )
    ax = sheet.figure.subplots()
    bare(ax)
    rows: list[float] = [*range(len(climb)), *(len(climb) + APART_ROWS + row for row in range(len(apart)))]
    steps = dict(zip(rows, (*climb, *apart), strict=True))
    ax.set_xlim(0, 1)
    ax.set_ylim(rows[-1] + 0.5, -0.5)
    columns, size = (COLUMNS, LABEL) if sheet.format.texts else (COLUMNS[:-1], SUBTITLE)
    ends = [end * size / LABEL for end in accumulate(width for _, width in columns)]
    for (heading, _), end in zip(columns, ends, strict=True):
        write(ax, heading, (1, -0.62), (end, 0), SUBTITLE, MUTED, ha="right")
    if apart:
        hits = [rate for step in apart if (rate := step.figures["cache_hit_rate"])]
        note = "apart, on its own scale: repeated texts" + (f", {hits[-1]:.1%} cache hits" if hits else "")
        place = MARGIN / sheet.width, rows[len(climb)] - 0.62
        how = {"xycoords": ("figure fraction", "data"), "in_layout": False}
        write(ax, note, place, (0, 0), SUBTITLE, MUTED, **how)
    used = {record["cell"]["server"]: record["configuration"]["server"] for record in data.records.values()}
    servers = [used[step.rung.configuration] for step in steps.values()]
    name_rows(ax, {row: step.rung.decision for row, step in steps.items()}, servers, size)
    longest = cells.frame.groupby("workload")["throughput_rps"].max()
    for (row, step), server in zip(steps.items(), servers, strict=True):
        own = cells.where(server=step.rung.configuration, workload=step.rung.workload)
        draw_step(sheet, ax, row, step, own, style.colour(server), longest[step.rung.workload] or 1)
        rps, p95_ms = step.figures["throughput_rps"], step.figures["p95_ms"]
        speed_up = format_ratio(step.factor.value, step.factor) if step.factor else ""
        texts = format_figure(rps, "not valid"), speed_up, format_figure(p95_ms, "n < 93")
        for end, text in zip(ends, texts, strict=False):
            ink = INK if text[:1].isdigit() else MUTED
            write(ax, text, (1, row), (end, 0), size, ink, ha="right", va="center")
    return sheet


def draw_step(sheet: Sheet, ax: Axes, row: float, step: Step, cells: Cells, ink: str, longest: float) -> None:
    """A bar in shares of the longest, with each repeat of its `cells`."""
    rps = step.figures["throughput_rps"] or 0.0
    ax.barh(row, rps / longest, height=1, color=ink, alpha=0.85, linewidth=0)
    for status, look in (("ok", style.REPEAT), ("invalid", style.INVALID)):
        repeats = cells.where(status=status).frame["throughput_rps"] / longest
        if cells.repeats > 1 or status == "invalid":
            ax.plot(repeats, [row] * len(repeats), color=INK, **look)
    if rps:
        text = f"{step.rung.decision}: {format_figure(rps)} RPS"
        text += f", {format_ratio(step.factor.value, step.factor)} of the step above" if step.factor else ""
        text += f", p95 {format_ms(step.figures['p95_ms'])}"
        sheet.add_value(ax, (0, row - 0.5), text, (rps / longest, row + 0.5))


def title(climb: Sequence[Step], task: str) -> str:
    """What the climb comes to, as a sentence with its numbers."""
    rates = [step.figures["throughput_rps"] for step in climb if step.figures["throughput_rps"]]
    if len(rates) < 2:
        return f"Too few valid {task} cells for a ladder"
    first, last = format_figure(rates[0]), format_figure(rates[-1])
    climbed = f"From {first} to {last} {task} requests a second, {format_factor(rates[-1] / rates[0])}"
    if len(rates) < len(climb):
        return f"{climbed}, with {len(rates)} of {len(climb)} steps valid"
    factors = [(step.factor.value, step.rung.decision) for step in climb if step.factor]
    if not factors:
        return climbed
    most, decision = max(factors)
    return f"{climbed}: {decision} alone gives {format_factor(most)}"
