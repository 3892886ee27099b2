"""Writes a run's report: one HTML page with its charts and tables, that asks nothing of the network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from benchmark.charts import caption, headline
from benchmark.charts.data import RunData
from benchmark.charts.draw import drawings, experiment_drawings
from benchmark.report import limits, ratios, svg, tables
from benchmark.report.summary import summary
from benchmark.runs.records import RunFiles
from benchmark.stats import figures, intervals
from benchmark.stats.formatting import ABSENT, format_count, format_users
from benchmark.stats.repeats import repeats_of


def write_report(run: RunFiles) -> Path:
    """Writes <run>/report.html from the run's files and charts; draws the charts that are missing."""
    templates = PackageLoader("benchmark.report")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("report.html.j2").render(content(RunData(run)))
    path = run.folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def raw_requests(run: RunFiles) -> str:
    """Where the raw requests of a run are: they are not in git."""
    if any(run.cells_folder.glob("*.requests.csv.xz")):
        return f"{run.cells_folder.name}/*.requests.csv.xz"
    return "in the run's folder on the machine that measured it"


def content(data: RunData) -> dict[str, Any]:
    """The variables of the template: what is shown, and the modules that make its tables."""
    repeats = repeats_of(data.files)
    cells = tables.every_cell(data)
    return {
        "data": data,
        "repeats": repeats,
        "raw_requests": raw_requests(data.files),
        "charts": [svg.figure_of(data.files, drawing) for drawing in drawings(data)],
        "experiment_charts": [
            svg.figure_of(data.files, drawing) for drawing in experiment_drawings(data.files.folder)
        ],
        "open_loops": [*limits.open_loops(data.files)],
        "summary": pd.DataFrame(summary(data, repeats)),
        "summary_users": format_users(headline.level_of(data) or 0),
        "cells": cells,
        "limitations": [*limitations(data, cells)],
        "ABSENT": ABSENT,
        "caption": caption,
        "figures": figures,
        "intervals": intervals,
        "limits": limits,
        "ratios": ratios,
        "svg": svg,
        "tables": tables,
    }


def limitations(data: RunData, cells: pd.DataFrame) -> Iterator[str]:
    """What the figures do not show, those of this run first."""
    if "random weights" in caption.models(data, data):
        yield "The models have random weights: speed and size are those of the real ones, text is not."
    yield from (f"{note}." for note in caption.precision_notes(caption.used_models(data, data)))
    if data.repeats < intervals.MIN_ROUNDS:
        repeats = format_count(data.repeats, "repeat")
        yield f"Each cell was measured in {repeats}; intervals need {intervals.MIN_ROUNDS}."
    if invalid := int(data.frame["status"].isin(["invalid", "failed"]).sum()):
        yield f"{invalid} of {len(cells)} cells are invalid or failed, and part of no median."
    if unstable := int((cells["throughput"] == "unstable").sum()):
        yield f"{unstable} of {len(cells)} cells are unstable: a longer window would give other figures."
    shares = (limits.offline_shares(data, part) for part in data.slices)
    if (data.files.folder / "offline_throughput.json").is_file() and all(share.empty for share in shares):
        yield "The run's offline throughput is of other models, so no share of it is given."
    yield "The figures hold for this machine, these cores and these texts."
    cores = (data.run.get("environment") or {}).get("cores") or {}
    if cores.get("pinned") is False:
        yield "Load generator and server may have shared cores: this system cannot pin processes to cores."
    else:
        yield "Load generator and server share one machine, on separate cores where there are enough."
    yield "In a closed loop each user waits for its answer, so a slow server receives fewer requests."
