"""The batch's life: one line a text, from its arrival to its answer, coloured by what becomes of it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import NullLocator

from benchmark.charts.axes import x_label
from benchmark.charts.labels import Label, end_labels, room_for
from benchmark.charts.record_caption import circumstances
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import COLOURS, LABEL, MARGIN, MUTED, SUBTITLE, points
from benchmark.stats.formatting import format_figure, format_users

# From column to column, in this colour (Okabe and Ito's sky blue for the encoder's run).
STATES = (
    ("waits", "admitted_s", "started_s", "#c4c4c4"),
    ("encoded", "started_s", "decoding_s", "#56B4E9"),
    ("decoded", "decoding_s", "ended_s", COLOURS["dynamic_batching"]),
)
HEADINGS = {"continuous": "in slots (continuous)", "request": "batch by batch"}
LEFT, BETWEEN = 16, 40
MOST_LINES = 150


def draw(records: Sequence[dict[str, Any]], traces: Sequence[pd.DataFrame]) -> Sheet:
    """A panel a record, over the same number of seconds in the middle of each run."""
    sheet = Sheet(
        title(records, traces),
        f"Translation at {format_users(records[0]['users'])}: one line a text, in the order of arrival, from "
        "its arrival to its answer",
        [
            "Both panels show as many seconds, from the middle of their runs.",
            circumstances(records, f"{format_figure(records[0]['duration_s'])} s of load each"),
        ],
    )
    right = room_for([name for name, *_ in STATES])
    first = MARGIN + LEFT
    width = (right - first - BETWEEN * (len(records) - 1)) / len(records)
    shown_s = window_s(traces)
    for index, (record, texts) in enumerate(zip(records, traces, strict=True)):
        left = first + index * (width + BETWEEN)
        ax = sheet.axes(left=left, right=left + width)
        panel(ax, texts, shown_s)
        ax.set_title(
            HEADINGS[record["batching"]], fontsize=points(SUBTITLE), color=MUTED, loc="left", pad=points(12)
        )
    low, high = ax.get_ylim()
    end_labels(
        sheet,
        ax,
        [
            Label(
                shown_s, low + (high - low) * (0.65 - 0.15 * place), name, ink if name != "waits" else MUTED
            )
            for place, (name, _, _, ink) in enumerate(STATES)
        ],
        LABEL,
    )
    return sheet


def panel(ax: Axes, texts: pd.DataFrame, shown_s: float) -> None:
    """The texts that live in the `shown_s` seconds around the middle of `texts`, the first on top."""
    first_s = texts["ended_s"].max() / 2 - shown_s / 2
    shown = texts[(texts["ended_s"] > first_s) & (texts["admitted_s"] < first_s + shown_s)]
    thick = min(9.0, 380 / max(len(shown), 1) * 0.8)
    for _, start, end, ink in STATES:
        lines = [
            ((one[start] - first_s, row), (one[end] - first_s, row))
            for row, (_, one) in enumerate(shown.iterrows())
        ]
        ax.add_collection(LineCollection(lines, colors=ink, linewidths=points(thick), capstyle="butt"))
    ax.set_xlim(0, shown_s)
    ax.set_ylim(len(shown), -1)
    ax.grid(visible=False)
    ax.yaxis.set_major_locator(NullLocator())
    ax.locator_params(axis="x", nbins=5)
    x_label(ax, "seconds")


def window_s(traces: Sequence[pd.DataFrame]) -> float:
    """Seconds to show: a few lives of a text, less where that would be too many lines."""
    lives = max(float((texts["ended_s"] - texts["admitted_s"]).median()) for texts in traces)
    rates = max(len(texts) / texts["ended_s"].max() for texts in traces)
    return min(3 * lives, MOST_LINES / rates, *(float(texts["ended_s"].max()) / 2 for texts in traces))


def waited_ms(texts: pd.DataFrame) -> float:
    """Median wait for the batch in ms, of the texts that came after a fifth of the run."""
    later = texts[texts["admitted_s"] >= texts["ended_s"].max() / 5]
    return float((later["started_s"] - later["admitted_s"]).median() * 1e3)


def title(records: Sequence[dict[str, Any]], traces: Sequence[pd.DataFrame]) -> str:
    """How long a text waits for the batch, as a sentence."""
    waits = {record["batching"]: waited_ms(texts) for record, texts in zip(records, traces, strict=True)}
    told = {batching: f"{format_figure(wait)} ms" for batching, wait in waits.items()}
    if "continuous" not in waits:
        return f"A text waits {told['request']} for its batch to begin"
    sentence = f"In slots a text waits {told['continuous']} to join the running batch"
    return f"{sentence}, batch by batch {told['request']}" if "request" in waits else sentence
