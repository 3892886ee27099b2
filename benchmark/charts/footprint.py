"""What a server costs before its first request: cold start, model files, memory. One chart a run."""

from collections.abc import Iterator
from functools import partial

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmark.charts import sentences, titles
from benchmark.charts.caption import caption
from benchmark.charts.data import Cells, Drawing, RunData
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import (
    DENSITY,
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
from benchmark.stats.formatting import format_exact, format_figure

NAME = "footprint"
MB = 1e6
BETWEEN = 44
THICK = 0.36  # of a bar, in rows


def drawings(data: RunData) -> Iterator[Drawing]:
    yield Drawing(NAME, None, partial(draw, data))


def draw(data: RunData) -> Sheet:
    cells = started(data)
    ready_s, sizes_mb, memory_mb, peak_mb = measured(data).values()
    failed = len(data.frame) - len(cells.frame)
    sheet = Sheet(
        sentences.footprint(ready_s, peak_mb),
        "Start to ready, model files of the tasks, and resident memory; light: peak under load",
        caption(
            data,
            data,
            [
                f"Dots: each of {len(cells.frame)} starts; bars: their median (light bar: the highest peak)",
                f"{failed} failed cell{'' if failed == 1 else 's'} left out" if failed else "",
            ],
        ),
    )
    servers = data.servers
    names = max((width_of(titles.name(server), LABEL) for server in servers), default=0) + 20
    width = (sheet.width - 2 * MARGIN - names - 2 * BETWEEN) / 3
    panels = []
    for index, heading in enumerate(("cold start, s", "model files, MB", "memory, MB")):
        left = MARGIN + names + index * (width + BETWEEN)
        ax = sheet.axes(left=left, right=left + width)
        ax.set_title(
            heading,
            fontsize=points(fitting(heading, SUBTITLE, width)),
            color=MUTED,
            loc="left",
            pad=points(12),
        )
        panels.append(ax)
    bars(sheet, panels[0], servers, ready_s, "s to ready")
    for row in cells.frame.dropna(subset=["cold_start_s"]).to_dict("records"):
        place = (row["cold_start_s"], servers.index(row["server"]))
        panels[0].set_xlim(0, max(place[0], panels[0].get_xlim()[1]))
        panels[0].plot(*place, "o", color=INK, markersize=7, alpha=0.3, markeredgewidth=0, clip_on=False)
    bars(sheet, panels[1], servers, sizes_mb, "MB of model files")
    bars(sheet, panels[2], servers, memory_mb, "MB at ready", behind=(peak_mb, "MB highest peak"))
    for row, server in enumerate(servers):
        panels[0].annotate(
            titles.name(server),
            (0, row),
            (points(-14), 0),
            textcoords="offset points",
            fontsize=points(LABEL),
            color=text_colour(server),
            ha="right",
            va="center",
        )
    return sheet


def started(data: RunData) -> Cells:
    """The cells whose server came up: no load has run yet, so a saturated generator spoils nothing here."""
    return Cells(data.files, data.frame[data.frame["status"] != "failed"])


def measured(data: RunData) -> dict[str, dict[str, float]]:
    """Each figure by server; the keys name it and its unit."""
    cells = started(data)
    return {
        "cold start, s": by_server(cells, "cold_start_s", "median"),
        "model files, MB": model_mb(data),
        "memory at ready, MB": by_server(cells, "rss_ready_bytes", "median", MB),
        "highest peak, MB": by_server(cells, "rss_peak_bytes", "max", MB),
    }


def bars(
    sheet: Sheet,
    ax: Axes,
    servers: list[str],
    values: dict[str, float],
    unit: str,
    behind: tuple[dict[str, float], str] = ({}, ""),
) -> None:
    """One bar a server with its figure above it; `behind` are longer, lighter bars with theirs."""
    longer, longer_unit = behind
    room = ax.get_window_extent().width / DENSITY
    for row, server in enumerate(servers):
        found = [
            (one[server], each) for one, each in ((values, unit), (longer, longer_unit)) if server in one
        ]
        ends = [end for end, _ in found]
        ax.barh(row, longer.get(server, 0), height=THICK, color=colour(server), alpha=0.35)
        if found:
            told = ", ".join(f"{format_exact(end)} {each}" for end, each in found)
            corners = (0, row - THICK / 2), (max(ends), row + THICK / 2)
            sheet.tell(ax, corners[0], f"{titles.name(server)}: {told}", corners[1])
        ax.barh(row, values.get(server, 0), height=THICK, color=colour(server))
        text = " – ".join(format_figure(end) for end in ends) if ends else "not measured"
        ax.annotate(
            text,
            (0, row - THICK / 2),
            (0, points(5)),
            textcoords="offset points",
            fontsize=points(fitting(text, LABEL, room)),
            color=text_colour(server),
        )
    ax.set_xlim(0, max([*values.values(), *longer.values()], default=0) or 1)
    ax.set_ylim(max(len(servers), 2) - 0.5, -0.6)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(NullLocator())
    ax.spines["bottom"].set_visible(False)


def by_server(cells: Cells, metric: str, how: str, unit: float = 1) -> dict[str, float]:
    """`metric` of each server over all its cells, summed up by `how` ("median", "max"), in `unit`."""
    known = cells.frame.dropna(subset=[metric]).groupby("server")[metric].agg(how)
    return {server: float(known[server]) / unit for server in cells.servers if server in known}


def model_mb(data: RunData, task: str | None = None) -> dict[str, float]:
    """The bytes in MB of the distinct artefacts that each server's cells name, of `task` or of all."""
    sizes: dict[str, dict[str, float]] = {}
    for record in data.records.values():
        artefact = record.get("model") or {}
        if artefact.get("bytes") and task in (None, artefact.get("task")):
            own = sizes.setdefault(record["cell"]["server"], {})
            own[f"{artefact.get('task')}/{artefact.get('format')}"] = artefact["bytes"] / MB
    return {server: sum(artefacts.values()) for server, artefacts in sizes.items()}
