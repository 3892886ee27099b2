"""One cell over time at the most users: each request's latency, and the answers of each second beneath."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts import sentences
from benchmark.charts.axes import log_ms_axis, rps_axis, x_label
from benchmark.charts.caption import caption, missing, subtitle
from benchmark.charts.data import Cells, Drawing, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import DENSITY, INK, MUTED, SHADE, SUBTITLE, colour, points, width_of
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_exact, format_users

MANY = 400  # dots: above it the SVG carries them as a picture, to stay small


def drawings(data: RunData) -> Iterator[Drawing]:
    for part in data.slices:
        cells = data.of(part)
        for server in cells.servers:
            shown = cell_to_show(cells.where(server=server))
            if shown is not None and cells.where(server=server).has_requests():
                name = f"timeline-{part.name}-{server}"
                yield Drawing(name, part, partial(draw, data, part, shown))


def cell_to_show(cells: Cells) -> pd.Series | None:
    """The valid repeat of middling throughput at the most users; an invalid one where none is valid."""
    for status in ("ok", "invalid"):
        chosen = cells.where(status=status)
        if chosen.levels:
            frame = chosen.where(users=chosen.levels[-1]).frame.sort_values(["throughput_rps", "repeat"])
            return frame.iloc[(len(frame) - 1) // 2]
    return None


def draw(data: RunData, part: Slice, row: pd.Series) -> Sheet:
    cells = Cells(data.files, data.frame.loc[[row.name]])
    recorded = cells.requests(row)
    duration = float(row["duration_s"])
    first, last = span(recorded["end_s"], duration)
    shown = recorded[recorded["end_s"].between(first, last)]
    answers, refused = shown[shown["ok"]], shown[~shown["ok"]]
    measured = stats.in_window(answers, duration)
    state = "" if row["status"] == "ok" else ", invalid cell"
    which = f"{format_users(int(row['users']))}, repeat {row['repeat']} of {data.of(part).repeats}{state}"
    notes = [
        "Each dot is an answer, at the time it came",
        "Cross: failed request" if len(refused) else "",
        f"{len(recorded) - len(shown):,} requests further from the window not drawn"
        if len(recorded) > len(shown)
        else "",
        *missing(cells),
    ]
    sheet = Sheet(
        sentences.timeline(row["server"], halves(measured, duration), len(measured), duration),
        subtitle(data, part, f"latency of each request in ms; {which}"),
        caption(data, data.of(part), notes),
    )
    top = sheet.axes(bottom=0.42, unit="ms")
    bottom = sheet.axes(top=0.28)
    for ax in (top, bottom):
        ax.set_xlim(first, last)
        for start, end in ((first, 0), (duration, last)):
            ax.axvspan(start, end, color=SHADE, linewidth=0, zorder=0)
        for edge in (0, duration):
            ax.axvline(edge, color=MUTED, linewidth=1.5, linestyle=":")
    draw_requests(top, answers, refused, colour(row["server"]))
    edges = np.arange(first, last + 1)
    rates, _ = np.histogram(answers["end_s"], edges)
    bottom.bar(edges[:-1], rates, width=0.9, align="edge", color=colour(row["server"]))
    rps_axis(bottom, list(rates))
    for second, rate in zip(edges[:-1], rates, strict=True):
        tell_second(sheet, bottom, float(second), int(rate), answers)
    bottom.locator_params(axis="y", nbins=3)
    x_label(bottom, "seconds since the measured window opened")
    heading(top, 0, "measured")
    heading(bottom, 0, "answers a second")
    room = top.get_window_extent().width / DENSITY * -first / (last - first)
    if room > width_of("warm-up", SUBTITLE) + 20:
        heading(top, first, "warm-up")
    return sheet


def tell_second(sheet: Sheet, ax: Axes, second: float, count: int, answers: pd.DataFrame) -> None:
    """What a reader sees on hover over one second: its answers, and their p50 where they are enough."""
    latencies = answers.loc[answers["end_s"].between(second, second + 1, inclusive="left"), "latency_ms"]
    p50 = stats.percentile_ms(latencies, 50)
    middle = f", p50 {format_exact(p50)} ms" if p50 is not None else ""
    text = f"Second {second:g} to {second + 1:g}: {count:,} answer{'' if count == 1 else 's'}{middle}"
    sheet.tell(ax, (second, 0), text, (second + 1, ax.get_ylim()[1]))


def draw_requests(ax: Axes, answers: pd.DataFrame, refused: pd.DataFrame, ink: str) -> None:
    """One dot an answer, one cross a failed request."""
    log_ms_axis(ax, [*answers["latency_ms"], *refused["latency_ms"]])
    ax.tick_params(labelbottom=False)
    alpha = float(np.clip(150 / max(len(answers), 1), 0.15, 0.6))
    (dots,) = ax.plot(answers["end_s"], answers["latency_ms"], "o", color=ink, markersize=6, clip_on=False)
    dots.set(markeredgewidth=0, alpha=alpha, rasterized=len(answers) > MANY)
    ax.plot(refused["end_s"], refused["latency_ms"], "x", color=INK, markersize=7, alpha=0.7, clip_on=False)


def heading(ax: Axes, second: float, text: str) -> None:
    """Writes `text` above `ax`, from `second` on."""
    ax.annotate(
        text,
        (second, 1),
        (points(8), points(7)),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=points(SUBTITLE),
        color=MUTED,
    )


def halves(measured: pd.DataFrame, duration_s: float) -> tuple[float, float] | None:
    """p50 in ms of the answers of the window's first and second half; None where one has too few."""
    early = measured["end_s"] < duration_s / 2
    parts = measured.loc[early, "latency_ms"], measured.loc[~early, "latency_ms"]
    if min(len(part) for part in parts) < stats.sample_floor(50):
        return None
    return float(parts[0].median()), float(parts[1].median())


def span(ends_s: pd.Series, duration_s: float) -> tuple[float, float]:
    """The seconds to show: the window and what was recorded around it, up to half a window before it."""
    first = max(ends_s.min(), -duration_s / 2) if len(ends_s) else 0
    last = min(ends_s.max(), duration_s * 1.1) if len(ends_s) else duration_s
    return float(np.floor(min(first, 0))), float(np.ceil(max(last, duration_s)))
