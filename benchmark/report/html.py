"""Writes a run's report: one HTML page with charts and tables inside, that asks nothing of the network."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.charts import caption, footprint, headline
from benchmark.charts import experiment_charts as open_loop_charts
from benchmark.charts.data import RunData, Slice
from benchmark.charts.draw import drawings
from benchmark.report.limits import ceiling_shares, open_loops
from benchmark.report.ratios import intervals, ratios
from benchmark.report.summary import summary
from benchmark.report.svg import figure_of, palette
from benchmark.report.tables import ABSENT, cell_row, flat, footprints, models, stabilities, summaries
from benchmark.runs.records import RunFiles
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_users
from benchmark.stats.intervals import MIN_ROUNDS, SMALLEST_EFFECT, SMALLEST_EFFECT_BETWEEN_RUNS
from benchmark.stats.repeats import repeats_of

TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: RunFiles) -> Path:
    """Writes <run>/report.html from the run's files and charts; draws the charts that are missing."""
    data = RunData(run)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(content(data))
    path = run.folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def content(data: RunData) -> dict[str, Any]:
    """What the template shows: every figure as text, with its unit in the heading."""
    drawn = drawings(data)
    beside = list(open_loop_charts.drawings(data.files.folder))
    figures = {drawing.name: figure_of(data.files, drawing) for drawing in [*drawn, *beside]}

    def of(part: Slice) -> list[dict[str, Any]]:
        return [figures[drawing.name] for drawing in drawn if drawing.part == part]

    def named(name: str) -> list[dict[str, Any]]:
        return [figures[name]] if name in figures else []

    apart = (headline.NAME, footprint.NAME)
    repeats = repeats_of(data.files)
    stable = stabilities(data)
    return {
        "run": data.run,
        "palette": palette(),
        "headline": figures[drawn[0].name]["title"] if drawn else "No cell was measured",
        "headline_charts": named(headline.NAME),
        "summary": list(summary(data, repeats)),
        "summary_users": format_users(headline.level_of(data) or 0),
        "run_charts": [
            *(figures[one.name] for one in drawn if one.part is None and one.name not in apart),
            *named(open_loop_charts.SLOTS),
        ],
        "circumstances": caption.circumstances(data, data),
        "sections": [
            {
                "title": f"{part.task.capitalize()}, {caption.texts_of(part)}",
                "charts": of(part),
                "rows": list(summaries(data.of(part))),
                "intervals": list(intervals(repeats, part)),
                "ratios": list(ratios(repeats, part)),
                "ceiling": list(ceiling_shares(data, part)),
            }
            for part in data.slices
        ],
        "footprint": {"charts": named(footprint.NAME), "rows": list(footprints(data))},
        "open_loop_charts": [figures[one.name] for one in beside if one.name != open_loop_charts.SLOTS],
        "open_loops": list(open_loops(data.files)),
        "cells": [cell_row(data, row, stable) for row in data.rows()],
        "models": models(data),
        "facts": list(flat(data.run.get("environment") or {})),
        "plan": list(flat(data.run.get("plan") or {})),
        "floors": {f"p{one}": stats.sample_floor(one) for one in stats.PERCENTILES},
        "dash": ABSENT,
        "smallest_effect": f"{1 + SMALLEST_EFFECT:g}",
        "smallest_effect_between_runs": f"{1 + SMALLEST_EFFECT_BETWEEN_RUNS:g}",
        "min_rounds": MIN_ROUNDS,
        "stable_within": f"{stats.STABLE_WITHIN:.0%}",
        "limitations": limitations(data, stable),
    }


def limitations(data: RunData, stable: dict[str, str]) -> list[str]:
    """What the figures do not say, first what holds of this run alone."""
    found = []
    if "random weights" in caption.models(data, data):
        found.append(
            "The models have random weights: speed and size are those of the real architecture, text is not."
        )
    found += [f"{note}." for note in caption.precision_notes(caption.used_models(data, data))]
    if data.repeats < 3:
        repeats = "one repeat" if data.repeats == 1 else f"{data.repeats} repeats"
        found.append(f"There is {repeats} of each cell: the spread between repeats is not known.")
    states = data.frame["status"].value_counts()
    if bad := int(states.get("invalid", 0) + states.get("failed", 0)):
        found.append(f"{bad} of {len(data.frame)} cells are invalid or failed; no median holds them.")
    if drifting := sum(found == "unstable" for found in stable.values()):
        found.append(
            f"{drifting} of {len(stable)} cells are unstable: their speed changed within the window, "
            "and a longer one would have other figures."
        )
    if (data.files.folder / "ceiling.json").is_file() and not any(
        list(ceiling_shares(data, part)) for part in data.slices
    ):
        found.append("The run's ceiling.json is of other models, so no share of it is given.")
    cores = (data.run.get("environment") or {}).get("cores") or {}
    share = "on cores of their own where there are enough"
    if cores.get("pinned") is False:
        share = "and may have shared cores: this system pins no process to some"
    return [
        *found,
        "The figures hold for this machine, these cores and these texts.",
        f"Load generator and server share one machine, {share}.",
        "In a closed loop a user waits for an answer before it asks again: a slow server is asked less.",
    ]
