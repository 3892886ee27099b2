"""Where a request's time goes: queue, inference, elsewhere. One chart a slice, where a server tells it."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter

from benchmark.charts import titles
from benchmark.charts.axes import x_label
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import (
    INK,
    LABEL,
    LEFT_AXIS,
    MARGIN,
    TICK,
    colour,
    fitting,
    light_colour,
    points,
    text_colour,
    width_of,
)
from benchmark.charts.titles import Levels, Medians
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_users

PARTS = ("queue", "inference", "elsewhere")
BETWEEN = 30
BAR = 0.7  # of the room of a level


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        cells = data.of(part)
        if any(time_shares(cells.where(server=server)) for server in cells.servers):
            yield Drawing(f"queue-{part.name}", part, partial(draw, data, part))


def draw(data: RunData, part: Slice) -> Sheet:
    cells = data.of(part)
    shares = {server: time_shares(cells.where(server=server)) for server in cells.servers}
    shares = {server: levels for server, levels in shares.items() if levels}
    sheet = Sheet(
        title(
            {
                server: {level: found["queue"] for level, found in levels.items()}
                for server, levels in shares.items()
            }
        ),
        subtitle(data, part, "share of mean latency in queue, in inference, elsewhere"),
        caption(
            data,
            cells,
            [
                "Inference holds what its thread waited for a core; elsewhere: HTTP, tokenizing, event loop",
                "Bars: median of the repeats" if cells.repeats > 1 else "",
                "Cache hits, which wait for no inference, left out" if cached(cells) else "",
                *missing(cells, invalid_as="Left out"),
            ],
        ),
    )
    first, right = MARGIN + LEFT_AXIS, room_for(PARTS)
    width = (right - first - BETWEEN * (len(shares) - 1)) / len(shares)
    levels = sorted({level for found in shares.values() for level in found})
    for index, (server, found) in enumerate(shares.items()):
        left = first + index * (width + BETWEEN)
        ax = sheet.axes(left=left, right=left + width)
        share_axes(ax, levels, labelled=index == 0)
        if index == len(shares) // 2:
            x_label(ax, "concurrent users")
        name_panel(ax, server, width)
        for level, parts in found.items():
            stack(ax, levels.index(level), parts, server)
            tell_parts(sheet, ax, levels, level, parts, server)
    seen = [
        name
        for name in PARTS
        if any(parts[name] >= 0.01 for found in shares.values() for parts in found.values())
    ]
    end_labels(sheet, ax, part_labels(found[max(found)], levels.index(max(found)) + BAR / 2, seen))
    return sheet


def part_labels(parts: dict[str, float], end: float, seen: list[str]) -> list[Label]:
    """The names of the `seen` parts, each at the middle of its piece of the bar that ends at `end`."""
    labels, bottom = [], 0.0
    for name in PARTS:
        if name in seen:
            labels.append(Label(end, bottom + parts[name] / 2, name, INK))
        bottom += parts[name]
    return labels


def cached(cells: Cells) -> bool:
    return bool((cells.frame["cache_hit_rate"] > 0).any())


def share_axes(ax: Axes, levels: list[int], *, labelled: bool) -> None:
    """Shares from 0 to 1 upwards, and one place a level of users."""
    ax.set_xlim(-0.5, len(levels) - 0.5)
    ax.set_ylim(0, 1)
    ax.xaxis.set_major_locator(FixedLocator(range(len(levels))))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{level:,}" for level in levels]))
    ax.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}".replace("%", " %")))
    ax.tick_params(labelleft=labelled)
    room = ax.get_window_extent().width / ax.figure.dpi * 100 / len(levels)
    widest = max(width_of(f"{level:,}", TICK) for level in levels)
    ax.tick_params(axis="x", labelsize=points(min(TICK, TICK * room / (widest + 8))))


def name_panel(ax: Axes, server: str, width: float) -> None:
    """Writes a server's name above its panel, over two lines where one has no room."""
    name = titles.name(server)
    lines = [name] if width_of(name, LABEL) <= width else name.split(" ", 1)
    size = min(fitting(line, LABEL / len(lines) ** 0.5, width) for line in lines)
    ax.set_title(
        "\n".join(lines),
        fontsize=points(size),
        color=text_colour(server),
        pad=points(10 if len(lines) == 1 else 4),
        linespacing=1,
    )


def stack(ax: Axes, place: int, parts: dict[str, float], server: str) -> None:
    """One bar: the queue light, inference in full colour, the rest empty."""
    faces = {"queue": light_colour(server), "inference": colour(server), "elsewhere": "white"}
    bottom = 0.0
    for name in PARTS:
        ax.bar(
            place, parts[name], BAR, bottom=bottom, color=faces[name], edgecolor=colour(server), linewidth=1.5
        )
        bottom += parts[name]


def tell_parts(
    sheet: Sheet, ax: Axes, levels: list[int], level: int, parts: dict[str, float], server: str
) -> None:
    """What a reader sees on hover over each piece of one bar."""
    place, bottom = levels.index(level), 0.0
    who = f"{titles.name(server)}, {format_users(level)}"
    for name in PARTS:
        corners = (place - BAR / 2, bottom), (place + BAR / 2, bottom + parts[name])
        sheet.tell(ax, corners[0], f"{who}: {100 * parts[name]:.1f} % {name}", corners[1])
        bottom += parts[name]


def time_shares(cells: Cells) -> dict[int, dict[str, float]]:
    """Users -> the share of each of PARTS in one server's mean latency, the median over valid repeats.

    A level is absent where too few requests tell their queue time for a p50.
    """
    found: dict[int, list[list[float]]] = {}
    for row in cells.where(status="ok").rows():
        requests = cells.requests(row)
        measured = stats.in_window(requests[requests["ok"]], row["duration_s"])
        if "queue_ms" not in measured:
            continue
        told = measured.dropna(subset=["queue_ms", "inference_ms"])
        if len(told) >= stats.sample_floor(50):
            found.setdefault(int(row["users"]), []).append(split(told))
    return {
        level: dict(zip(PARTS, normalized(np.median(repeats, axis=0)), strict=True))
        for level, repeats in found.items()
    }


def split(requests: pd.DataFrame) -> list[float]:
    """The shares of PARTS in the latency of `requests`, all together.

    Inference on several threads at once can add up to more than the latency: the whole is then their sum.
    """
    queue, inference, latency = (
        float(requests[column].sum()) for column in ("queue_ms", "inference_ms", "latency_ms")
    )
    whole = max(latency, queue + inference)
    return [queue / whole, inference / whole, (whole - queue - inference) / whole]


def normalized(shares: np.ndarray) -> list[float]:
    """Medians of shares need not add up to one."""
    return [float(share) for share in shares / shares.sum()]


def title(shares: Medians) -> str:
    """How much of a request's time is spent in the queue, as a sentence; `shares` from 0 to 1."""
    shares = titles.present(shares)
    common = set.intersection(*(set(levels) for levels in shares.values()))
    if len(shares) > 1 and common:
        at = titles.at_level(shares, max(common))
        most, least = max(at, key=lambda one: at[one]), min(at, key=lambda one: at[one])
        if percent(at[most]) != percent(at[least]):
            told = f"{percent(at[most])} of a request's time on {titles.inline(most)}"
            rest = f"{percent(at[least])} on {titles.inline(least)}"
            return f"At {format_users(max(common))} the queue takes {told}, {rest}"
        told = f"{percent(at[most])} of a request's time on every server"
        return f"At {format_users(max(common))} the queue takes {told}"
    server = max(shares, key=lambda one: max(shares[one].values()))
    return title_of_one(server, shares[server])


def title_of_one(server: str, levels: Levels) -> str:
    first, last = min(levels), max(levels)
    where = f"of a request's time on {titles.inline(server)}"
    if percent(levels[first]) == percent(levels[last]):
        return f"At {format_users(last)} the queue takes {percent(levels[last])} {where}"
    rest = f"at {format_users(last)}, {percent(levels[first])} at {first:,}"
    return f"The queue takes {percent(levels[last])} {where} {rest}"


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
