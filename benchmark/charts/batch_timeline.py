"""Batch timeline: one line a text, from its arrival to its answer, coloured by what becomes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from benchmark.charts.caption import circumstances_of_records
from benchmark.charts.labels import Label, end_labels
from benchmark.charts.sheet import Sheet
from benchmark.charts.style import COLOURS, MUTED, points
from benchmark.experiments.batch_timeline import read_trace, trace_path
from benchmark.stats.formatting import format_figure, format_users

# From column to column, in this colour (Okabe and Ito's sky blue for the encoder's run).
STATES = (
    ("waits", "admitted_s", "started_s", "#c4c4c4"),
    ("encoded", "started_s", "decoding_s", "#56B4E9"),
    ("decoded", "decoding_s", "ended_s", COLOURS["dynamic_batching"]),
)
HEADINGS = {"continuous": "in slots (continuous)", "request": "batch by batch"}
MOST_LINES = 150


def batch_timeline(folder: Path, records: Sequence[dict[str, Any]]) -> Sheet:
    """A panel a record of `folder`, over the same number of seconds in the middle of each run."""
    paths = [trace_path(folder, record["batching"]) for record in records]
    traces = [read_trace(path, record["duration_s"]) for path, record in zip(paths, records, strict=True)]
    waits = [f"{format_figure(wait_ms(texts))} ms" for texts in traces]
    sheet = Sheet(
        title({record["batching"]: wait for record, wait in zip(records, waits, strict=True)}),
        f"Translation at {format_users(records[0]['users'])}: one line a text, in the order of arrival, from "
        "its arrival to its answer",
        [
            "Both panels show as many seconds, from the middle of their runs.",
            circumstances_of_records(records, f"{format_figure(records[0]['duration_s'])} s of load each"),
        ],
    )
    shown_s = window_s(traces)
    panels = sheet.figure.subplots(1, len(records), squeeze=False)[0]
    for ax, record, texts in zip(panels, records, traces, strict=True):
        draw_texts(ax, texts, shown_s)
        ax.set_title(HEADINGS[record["batching"]])
    low, high = panels[-1].get_ylim()
    labels = [
        Label(shown_s, low + (high - low) * (0.65 - 0.15 * row), name, MUTED if name == "waits" else ink)
        for row, (name, _, _, ink) in enumerate(STATES)
    ]
    end_labels(sheet, panels[-1], labels)
    return sheet


def draw_texts(ax: Axes, texts: pd.DataFrame, shown_s: float) -> None:
    """The texts that live in the `shown_s` seconds around the middle of `texts`, the first on top."""
    first_s = texts["ended_s"].max() / 2 - shown_s / 2
    shown = texts[(texts["ended_s"] > first_s) & (texts["admitted_s"] < first_s + shown_s)] - first_s
    thick = points(min(9.0, 380 / max(len(shown), 1) * 0.8))
    for _, start, end, ink in STATES:
        ax.hlines(range(len(shown)), shown[start], shown[end], colors=ink, linewidths=thick)
    ax.set_xlim(0, shown_s)
    ax.set_ylim(len(shown), -1)
    ax.grid(visible=False)
    ax.set_yticks([])
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel("seconds")


def window_s(traces: Sequence[pd.DataFrame]) -> float:
    """Seconds to show: a few lives of a text, less where that would be too many lines."""
    lives_s = [float((texts["ended_s"] - texts["admitted_s"]).median()) for texts in traces]
    ends_s = [float(texts["ended_s"].max()) for texts in traces]
    most_rps = max(len(texts) / end_s for texts, end_s in zip(traces, ends_s, strict=True))
    return min(3 * max(lives_s), MOST_LINES / most_rps, min(ends_s) / 2)


def wait_ms(texts: pd.DataFrame) -> float:
    """Median wait for the batch in ms, of the texts that came after a fifth of the run."""
    later = texts[texts["admitted_s"] >= texts["ended_s"].max() / 5]
    return float((later["started_s"] - later["admitted_s"]).median() * 1e3)


def title(waits: dict[str, str]) -> str:
    """How long a text waits for the batch, as a sentence."""
    if "continuous" not in waits:
        return f"A text waits {waits['request']} for its batch to begin"
    sentence = f"In slots a text waits {waits['continuous']} to join the running batch"
    return f"{sentence}, batch by batch {waits['request']}" if "request" in waits else sentence
