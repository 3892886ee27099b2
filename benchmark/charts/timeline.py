"""One cell over time at the most users: each request's latency, and the answers of each second beneath."""

import numpy as np
import pandas as pd

from benchmark.charts import style, titles
from benchmark.charts.axes import log_ms_axis, rps_axis
from benchmark.charts.caption import missing, slice_sheet
from benchmark.charts.data import Cells, RunData, Slice
from benchmark.charts.sheet import Sheet
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_count, format_exact, format_users

MANY = 400  # dots: above it the SVG carries them as a picture, to stay small


def cell_to_show(cells: Cells) -> pd.Series | None:
    """The valid repeat of middling throughput at the most users; an invalid one where none is valid."""
    for status in ("ok", "invalid"):
        chosen = cells.where(status=status)
        if chosen.levels:
            frame = chosen.where(users=chosen.levels[-1]).frame.sort_values(["throughput_rps", "repeat"])
            return frame.iloc[(len(frame) - 1) // 2]
    return None


def timeline(data: RunData, part: Slice, row: pd.Series) -> Sheet:
    cells = Cells(data.files, data.frame.loc[[row.name]])
    recorded, duration_s = cells.requests(row), float(row["duration_s"])
    first_s, last_s = span(recorded["end_s"], duration_s)
    shown = recorded[recorded["end_s"].between(first_s, last_s)]
    answers, failed, measured = shown[shown["ok"]], shown[~shown["ok"]], cells.answers(row)
    state = "" if row["status"] == "ok" else ", invalid cell"
    which = f"{format_users(int(row['users']))}, repeat {row['repeat']} of {data.of(part).repeats}{state}"
    left_out = len(recorded) - len(shown)
    notes = [
        "Each dot is an answer, at the time it came; shaded: before and after the measured window",
        "Cross: failed request" if len(failed) else "",
        f"{format_count(left_out, 'request')} further from the window not drawn" if left_out else "",
        *missing(cells),
    ]
    title = titles.timeline(row["server"], halves(measured, duration_s), len(measured), duration_s)
    sheet = slice_sheet(data, part, data.of(part), title, f"latency of each request in ms; {which}", notes)
    top, bottom = sheet.figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for ax, heading in ((top, "ms"), (bottom, "answers a second")):
        ax.set_title(heading)
        for start, end in ((first_s, 0), (duration_s, last_s)):
            ax.axvspan(start, end, color=style.SHADE, linewidth=0, zorder=0)
    top.set_xlim(first_s, last_s)
    log_ms_axis(top, [*shown["latency_ms"]])
    ink, crowd = style.colour(row["server"]), max(len(answers), 1)
    dots = {**style.MARK, "markersize": 6, "markeredgewidth": 0, "alpha": np.clip(150 / crowd, 0.15, 0.6)}
    top.plot(answers["end_s"], answers["latency_ms"], color=ink, rasterized=crowd > MANY, **dots)
    top.plot(failed["end_s"], failed["latency_ms"], color=style.INK, **style.MARK | {"marker": "x"})
    bottom.set_xlabel("seconds since the measured window opened")
    edges_s = np.arange(first_s, last_s + 1)
    rates, _ = np.histogram(answers["end_s"], edges_s)
    bottom.bar(edges_s[:-1], rates, width=0.9, align="edge", color=ink)
    rps_axis(bottom, list(rates))
    bottom.locator_params(axis="y", nbins=3)
    for second, rate in zip(edges_s[:-1], rates, strict=True):
        within = answers["end_s"].between(second, second + 1, inclusive="left")
        p50 = stats.percentile_ms(answers.loc[within, "latency_ms"], 50)
        middle = f", p50 {format_exact(p50)} ms" if p50 is not None else ""
        text = f"Second {second:g} to {second + 1:g}: {format_count(int(rate), 'answer')}{middle}"
        sheet.add_value(bottom, (second, 0), text, (second + 1, bottom.get_ylim()[1]))
    return sheet


def halves(measured: pd.DataFrame, duration_s: float) -> tuple[float, float] | None:
    """p50 in ms of the answers of the window's first and second half; None where one has too few."""
    parts = measured.groupby(measured["end_s"] >= duration_s / 2)["latency_ms"]
    p50s = [p50 for _, part in parts if (p50 := stats.percentile_ms(part, 50)) is not None]
    return (p50s[0], p50s[1]) if len(p50s) == 2 else None


def span(ends_s: pd.Series, duration_s: float) -> tuple[float, float]:
    """The seconds to show: the window and what was recorded around it, up to half a window before it."""
    first, last = (ends_s.min(), ends_s.max()) if len(ends_s) else (0, 0)
    return np.floor(np.clip(first, -duration_s / 2, 0)), np.ceil(np.clip(last, duration_s, duration_s * 1.1))
