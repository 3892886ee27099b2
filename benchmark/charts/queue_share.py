"""Where a request's time goes: queue, inference, elsewhere. For servers that report it."""

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import style, titles
from benchmark.charts.axes import share_ticks
from benchmark.charts.caption import missing, slice_sheet
from benchmark.charts.data import Cells, RunData, Slice, in_order
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import LABEL, TICK, points, width_of
from benchmark.runs.records import SERVERS
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_users

PARTS = ("queue", "inference", "elsewhere")
BAR = 0.7  # of the room of a level


def queue_share(data: RunData, part: Slice, shares: pd.DataFrame) -> Sheet:
    """A panel a server, a bar a level of users, of what `time_shares` returns."""
    cells = data.of(part)
    servers, levels = in_order(shares.index.unique("server"), SERVERS), sorted(shares.index.unique("users"))
    notes = [
        "Inference holds what its thread waited for a core; elsewhere: HTTP, tokenizing, event loop",
        "Bars: median of the repeats" if cells.repeats > 1 else "",
        "Cache hits, which have no inference, left out" if (cells.frame["cache_hit_rate"] > 0).any() else "",
        *missing(cells, invalid_as="Left out"),
    ]
    title = titles.queue({server: shares.loc[server]["queue"].to_dict() for server in servers})
    what = "share of mean latency in queue, in inference, elsewhere"
    sheet = slice_sheet(data, part, cells, title, what, notes)
    panels = sheet.figure.subplots(1, len(servers), sharey=True, squeeze=False)[0]
    for ax, server in zip(panels, servers, strict=True):
        ink, own = style.text_colour(server), shares.loc[server]
        name = titles.name(server) if sheet.format.texts else titles.name(server).replace(" ", "\n", 1)
        sheet.fit(ax, ax.set_title(name, color=ink, fontsize=points(LABEL), linespacing=1))
        for level, parts in own.iterrows():
            draw_bar(sheet, ax, levels.index(level), parts, server, level)
        ax.set_xlim(-0.5, len(levels) - 0.5)
        ax.set_ylim(0, 1)
        ax.set_xticks(range(len(levels)), [f"{level:,}" for level in levels])
    share_ticks(panels[0], "y", [0, 0.25, 0.5, 0.75, 1])
    panels[len(servers) // 2].set_xlabel("concurrent users")
    last, end = own.iloc[-1], levels.index(own.index[-1]) + BAR / 2
    middles = last.cumsum() - last / 2
    seen = [name for name in PARTS if (shares[name] >= 0.01).any()]
    end_labels(sheet, panels[-1], [Label(end, middles[name], name, style.INK) for name in seen])
    needed = width_of(f"{levels[-1]:,} ", TICK) * len(levels) * style.DENSITY
    for ax in panels:
        ax.tick_params(axis="x", labelsize=points(TICK * min(1, ax.bbox.width / needed)))
    return sheet


def draw_bar(sheet: Sheet, ax: Axes, place: int, parts: "pd.Series[float]", server: str, level: int) -> None:
    """The queue light, inference in full colour, the rest empty; each piece with its share on hover."""
    ink, bottom = style.colour(server), 0.0
    faces = {"queue": style.light_colour(server), "inference": ink, "elsewhere": style.PAPER}
    for name, share in parts.items():
        ax.bar(place, share, BAR, bottom=bottom, color=faces[str(name)], edgecolor=ink, linewidth=1.5)
        text = f"{titles.name(server)}, {format_users(level)}: {100 * share:.1f} % {name}"
        sheet.add_value(ax, (place - BAR / 2, bottom), text, (place + BAR / 2, bottom + share))
        bottom += share


def time_shares(cells: Cells) -> pd.DataFrame:
    """A row a server and level, a column a part: its share of mean latency, the median over valid repeats.

    There is no row where too few requests have a queue time for a p50.
    """
    repeats = []
    for _, row in cells.where(status="ok").frame.iterrows():
        answers = cells.answers(row)
        if "queue_ms" in answers:
            timed = answers.dropna(subset=["queue_ms", "inference_ms"])
            if len(timed) >= stats.sample_floor(50):
                repeats.append([row["server"], row["users"], *split(timed)])
    frame = pd.DataFrame(repeats, columns=["server", "users", *PARTS])
    medians = frame.groupby(["server", "users"]).median()
    # Medians of shares need not add up to one.
    return medians.div(medians.sum(axis=1), axis=0)


def split(requests: pd.DataFrame) -> list[float]:
    """The shares of PARTS in the latency of `requests`, all together.

    Inference on several threads at once can add up to more than the latency: the whole is then their sum.
    """
    queue, inference, latency = requests[["queue_ms", "inference_ms", "latency_ms"]].sum()
    whole = max(latency, queue + inference)
    return [queue / whole, inference / whole, (whole - queue - inference) / whole]
