"""Where a request's time goes: queue, inference, elsewhere. For servers that report it."""

from collections import defaultdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import sentences, style, titles
from benchmark.charts.axes import share_ticks
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, TICK, fitting, points
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_users

PARTS = ("queue", "inference", "elsewhere")
BAR = 0.7  # of the room of a level

Shares = dict[int, dict[str, float]]  # users -> part -> share of mean latency


def queue_share(data: RunData, part: Slice, shares: dict[str, Shares]) -> Sheet:
    """A panel a server, a bar a level of users."""
    cells = data.of(part)
    cached = bool((cells.frame["cache_hit_rate"] > 0).any())
    notes = [
        "Inference holds what its thread waited for a core; elsewhere: HTTP, tokenizing, event loop",
        "Bars: median of the repeats" if cells.repeats > 1 else "",
        "Cache hits, which wait for no inference, left out" if cached else "",
        *missing(cells, invalid_as="Left out"),
    ]
    queue = {
        server: {level: one["queue"] for level, one in levels.items()} for server, levels in shares.items()
    }
    sheet = Sheet(
        sentences.queue(queue),
        subtitle(data, part, "share of mean latency in queue, in inference, elsewhere"),
        caption(data, cells, notes),
    )
    levels = sorted({level for of_server in shares.values() for level in of_server})
    panels = sheet.figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for ax, (server, of_server) in zip(panels, shares.items(), strict=True):
        ink = style.text_colour(server)
        sheet.fit(ax, ax.set_title(titles.name(server), color=ink, fontsize=points(LABEL)))
        for level, parts in of_server.items():
            draw_bar(sheet, ax, levels.index(level), parts, server, level)
        ax.set_xlim(-0.5, len(levels) - 0.5)
        ax.set_ylim(0, 1)
        ax.set_xticks(range(len(levels)), [f"{level:,}" for level in levels])
    share_ticks(panels[0], "y", [0, 0.25, 0.5, 0.75, 1])
    panels[len(shares) // 2].set_xlabel("concurrent users")
    end_labels(sheet, panels[-1], part_labels(shares, levels))
    room = panels[0].bbox.width / style.DENSITY / len(levels)
    for ax in panels:
        ax.tick_params(axis="x", labelsize=points(fitting(f"{levels[-1]:,} ", TICK, room)))
    return sheet


def draw_bar(sheet: Sheet, ax: Axes, place: int, parts: dict[str, float], server: str, level: int) -> None:
    """The queue light, inference in full colour, the rest empty; each piece with its share on hover."""
    ink, bottom = style.colour(server), 0.0
    faces = {"queue": style.light_colour(server), "inference": ink, "elsewhere": style.PAPER}
    for name, share in parts.items():
        ax.bar(place, share, BAR, bottom=bottom, color=faces[name], edgecolor=ink, linewidth=1.5)
        text = f"{titles.name(server)}, {format_users(level)}: {100 * share:.1f} % {name}"
        sheet.add_value(ax, (place - BAR / 2, bottom), text, (place + BAR / 2, bottom + share))
        bottom += share


def part_labels(shares: dict[str, Shares], levels: list[int]) -> list[Label]:
    """The names of the parts that are seen in any bar, each at its piece of the last one."""
    seen = {
        name
        for of_server in shares.values()
        for parts in of_server.values()
        for name in PARTS
        if parts[name] >= 0.01
    }
    last_level, last = max([*shares.values()][-1].items())
    tops = np.cumsum([last[name] for name in PARTS])
    end = levels.index(last_level) + BAR / 2
    return [
        Label(end, top - last[name] / 2, name, style.INK)
        for name, top in zip(PARTS, tops, strict=True)
        if name in seen
    ]


def shares_by_server(cells: Cells) -> dict[str, Shares]:
    """`time_shares` of each server that has any."""
    shares = {server: time_shares(cells.where(server=server)) for server in cells.servers}
    return {server: levels for server, levels in shares.items() if levels}


def time_shares(cells: Cells) -> Shares:
    """Users -> the share of each of PARTS in one server's mean latency, the median over valid repeats.

    A level is absent where too few requests have a queue time for a p50.
    """
    repeats: dict[int, list[list[float]]] = defaultdict(list)
    for row in cells.where(status="ok").rows():
        answers = cells.answers(row)
        if "queue_ms" in answers:
            timed = answers.dropna(subset=["queue_ms", "inference_ms"])
            if len(timed) >= stats.sample_floor(50):
                repeats[int(row["users"])].append(split(timed))
    medians = {level: np.median(shares, axis=0) for level, shares in repeats.items()}
    # Medians of shares need not add up to one.
    return {
        level: dict(zip(PARTS, map(float, one / one.sum()), strict=True)) for level, one in medians.items()
    }


def split(requests: pd.DataFrame) -> list[float]:
    """The shares of PARTS in the latency of `requests`, all together.

    Inference on several threads at once can add up to more than the latency: the whole is then their sum.
    """
    queue, inference, latency = requests[["queue_ms", "inference_ms", "latency_ms"]].sum()
    whole = max(latency, queue + inference)
    return [queue / whole, inference / whole, (whole - queue - inference) / whole]
