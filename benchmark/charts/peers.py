"""Other serving systems beside ours: requests a second at one number of users, a bar a server."""

from collections.abc import Iterator
from functools import partial

from benchmark.charts import style
from benchmark.charts.axes import write
from benchmark.charts.bars import bare, name_rows
from benchmark.charts.caption import caption, dots_note, missing, texts_of
from benchmark.charts.data import Drawing, RunData, Slice
from benchmark.charts.headline import METRIC, level_of
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import MUTED, REPEAT
from benchmark.charts.titles import at_level
from benchmark.runs.records import read_json
from benchmark.stats.formatting import format_exact, format_factor, format_figure, format_users

KIND = "peers"
THICK = 0.7  # of a bar, in rows
ROOM = 1.3  # of the longest bar: its figure stands behind it
OURS, OUR_NAME = "dynamic_batching", "Ours"
SYSTEMS, OUR_ENGINE = "systems", "-ours"


def drawings(data: RunData) -> Iterator[Drawing]:
    level = level_of(data)
    for part in data.slices:
        if level is not None and OURS in at_level(data.of(part).medians(METRIC), level):
            yield Drawing(f"peers-{part.task}-u{level}", part, partial(draw, data, part, level))


def draw(data: RunData, part: Slice, level: int) -> Sheet:
    cells = data.of(part).where(users=level)
    rates = at_level(cells.medians(METRIC), level)
    fastest_first = sorted(rates, key=lambda server: -rates[server])
    sheet = Sheet(
        title(rates, part.task, level),
        f"Requests answered a second, {texts_of(part)}; in brackets how many times as many ours answers",
        caption(data, cells, [dots_note(cells, "bar"), *missing(cells, invalid_as="Not drawn")]),
    )
    ax = sheet.figure.subplots()
    bare(ax)
    ax.set_xlim(0, max(rates.values()) * ROOM)
    ax.set_ylim(len(rates) - 0.5, -0.5)
    name_rows(ax, {row: name(data, server) for row, server in enumerate(fastest_first)}, fastest_first)
    for row, server in enumerate(fastest_first):
        ax.barh(row, rates[server], height=THICK, color=style.colour(server), linewidth=0)
        note = "" if server == OURS else f"  ({factor(rates[OURS], rates[server])})"
        ink = style.text_colour(server)
        text = f"{format_figure(rates[server])}{note}"
        write(ax, text, (rates[server], row), (12, 0), style.SUBTITLE, ink, va="center")
        value = f"{name(data, server)}: {format_exact(rates[server])} {part.task} requests a second"
        sheet.add_value(ax, (0, row - THICK / 2), value, (rates[server], row + THICK / 2))
        repeats = cells.where(server=server, status="ok").frame[METRIC]
        if len(repeats) > 1:
            ax.plot(repeats, [row] * len(repeats), color=MUTED, **REPEAT)
    return sheet


def name(data: RunData, server: str) -> str:
    """A server's title in the run's own record of it."""
    path = data.files.folder / SYSTEMS / f"{server}.json"
    if server == OURS or not path.is_file():
        return OUR_NAME
    return read_json(path)["title"]


def title(rates: dict[str, float], task: str, level: int) -> str:
    """How ours compares with the best of the others, with their engines and with ours."""
    others = {server: rate for server, rate in rates.items() if server != OURS}
    own = [rate for server, rate in others.items() if not server.endswith(OUR_ENGINE)]
    with_ours = [rate for server, rate in others.items() if server.endswith(OUR_ENGINE)]
    if not own:
        return f"No other server has a valid {task} cell at {format_users(level)}"
    found = f"At {format_users(level)} ours answers {factor(rates[OURS], max(own))} the {task} requests"
    found += " of the best other server"
    return f"{found}, {factor(rates[OURS], max(with_ours))} with our engine in it" if with_ours else found


def factor(ours: float, other: float) -> str:
    """With two decimals where it is small: several are near 1."""
    times = ours / other
    return format_factor(times) if times > 9.95 else f"{times:.2f}x"
