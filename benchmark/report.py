"""Writes a run's report: one HTML page with charts and tables inside, that asks nothing of the network."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark import stats
from benchmark.charts import caption, footprint, titles
from benchmark.charts.data import Cells, Drawing, RunData, Slice, cell_of
from benchmark.plots import charts_folder, draw_one, drawings
from benchmark.records import RunFiles

TEMPLATES = Path(__file__).parent / "templates"
ABSENT = "–"
MB = 1e6

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


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
    figures = {drawing.name: figure_of(data.files, drawing) for drawing in drawn}

    def of(part: Slice | None) -> list[dict[str, Any]]:
        return [figures[drawing.name] for drawing in drawn if drawing.part == part]

    return {
        "run": data.run,
        "headline": of(data.slices[0])[0]["title"] if data.slices else "No cell was measured",
        "circumstances": caption.circumstances(data, data),
        "sections": [
            {
                "title": f"{part.task.capitalize()}, {caption.texts_of(part)}",
                "charts": of(part),
                "rows": list(summaries(data.of(part))),
            }
            for part in data.slices
        ],
        "footprint": {"charts": of(None), "rows": list(footprints(data))},
        "cells": [cell_row(data, row) for row in data.rows()],
        "models": models(data),
        "facts": list(flat(data.run.get("environment") or {})),
        "plan": list(flat(data.run.get("plan") or {})),
        "floors": {f"p{one}": stats.sample_floor(one) for one in stats.PERCENTILES},
        "dash": ABSENT,
        "limitations": limitations(data),
    }


def figure_of(files: RunFiles, drawing: Drawing) -> dict[str, Any]:
    """One chart: its title, the SVG to put into the page, and the PNG's relative address."""
    stem = charts_folder(files) / drawing.name
    svg = stem.with_name(f"{stem.name}.svg")
    if not svg.is_file():
        draw_one(drawing, files)
    title, markup = inline_svg(svg.read_text(encoding="utf-8"), drawing.name)
    return {"title": title, "svg": Markup(markup), "png": f"charts/{drawing.name}.png"}


def inline_svg(text: str, prefix: str) -> tuple[str, str]:
    """The title of an SVG, and the SVG with ids that start with `prefix`: many share one page."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(text)
    found = root.find(".//{http://purl.org/dc/elements/1.1/}title")
    title = (found.text or "") if found is not None else ""
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for style in root.iter(f"{{{SVG}}}style"):
        style.text = (style.text or "").replace("*{", f"#{prefix} *{{")
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{prefix}-{value}")
            elif key in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
                element.set(key, f"#{prefix}-{value[1:]}")
            else:
                element.set(key, re.sub(r"url\(#", f"url(#{prefix}-", value))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"id": prefix, "role": "img", "aria-label": title}
    return title, ElementTree.tostring(root, encoding="unicode")


def number(value: float | None, digits: int = 1) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{value:,.{digits}f}"


def summaries(cells: Cells) -> Iterator[dict[str, str]]:
    """One row a server and level: medians over the valid repeats, as the charts draw them."""
    columns = {
        "throughput, RPS": ("throughput_rps", 2),
        "p50, ms": ("p50_ms", 1),
        "p95, ms": ("p95_ms", 1),
        "p99, ms": ("p99_ms", 1),
        "queue p50, ms": ("queue_p50_ms", 1),
        "inference p50, ms": ("inference_p50_ms", 1),
        "server CPU, %": ("server_cpu_percent", 0),
    }
    if (cells.frame["texts_per_request"] > 1).any():
        columns["texts/s"] = ("texts_per_s", 2)
    if cells.frame["cache_hit_rate"].notna().any():
        columns["cache hits, share"] = ("cache_hit_rate", 3)
    medians = {metric: cells.medians(metric) for metric, _ in columns.values()}
    for server in cells.servers:
        own = cells.where(server=server)
        for level in own.levels:
            frame = own.where(users=level).frame
            yield {
                "server": titles.name(server),
                "users": f"{level:,}",
                "valid cells": f"{(frame['status'] == 'ok').sum()} of {len(frame)}",
                **{
                    heading: number(medians[metric][server].get(level), digits)
                    for heading, (metric, digits) in columns.items()
                },
                "failed requests": number(frame["failures"].sum(), 0),
            }


def footprints(data: RunData) -> Iterator[dict[str, str]]:
    """One row a server: cold start, model files and memory, as the chart draws them."""
    found = footprint.measured(data)
    for server in data.servers:
        yield {
            "server": titles.name(server),
            **{heading: number(values.get(server), 2) for heading, values in found.items()},
        }


def cell_row(data: RunData, row: pd.Series) -> dict[str, Any]:
    """One cell as it was recorded, with the addresses of its files."""
    cell = cell_of(row)
    paths = (
        data.files.cells_folder / f"{cell.name}.json",
        data.files.requests_path(cell),
        data.files.samples_path(cell),
    )
    return {
        "name": cell.name,
        "status": row["status"],
        "reasons": "; ".join(row["invalid_reasons"]),
        "figures": {
            "requests": number(row["requests"], 0),
            "RPS": number(row["throughput_rps"], 2),
            "p50, ms": number(row["p50_ms"]),
            "p95, ms": number(row["p95_ms"]),
            "p99, ms": number(row["p99_ms"]),
            "max, ms": number(row["max_ms"]),
            "start, s": number(row["cold_start_s"], 2),
            "peak, MB": number(row["rss_peak_bytes"] / MB),
            "load CPU, %": number(row["load_cpu_percent"], 0),
        },
        "links": {
            label: f"cells/{path.name}"
            for label, path in zip(("record", "requests", "samples"), paths, strict=True)
            if path.is_file()
        },
    }


def models(data: RunData) -> list[dict[str, str]]:
    """The artefacts of the manifest, one row each."""
    manifest = data.run.get("models") or {}
    return [
        {
            "artefact": name,
            "architecture": str(artefact.get("architecture") or ABSENT),
            "origin": caption.origin(artefact) or ABSENT,
            "parameters": number(artefact.get("parameters"), 0),
            "MB": number(artefact["bytes"] / MB if artefact.get("bytes") else None),
            "weights": "random" if artefact.get("trained") is False else "trained",
        }
        for name, artefact in (manifest.get("artefacts") or {}).items()
    ]


def flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts as pairs of a dotted name and a text."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{name}.")
        elif isinstance(value, list):
            items = (" x".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)
            yield name, ", ".join(items) or ABSENT
        else:
            yield name, ABSENT if value is None else str(value)


def limitations(data: RunData) -> list[str]:
    """What the figures do not say, first what holds of this run alone."""
    found = []
    if "random weights" in caption.models(data, data):
        found.append(
            "The models have random weights: speed and size are those of the real architecture, text is not."
        )
    if data.repeats < 3:
        repeats = "one repeat" if data.repeats == 1 else f"{data.repeats} repeats"
        found.append(f"There is {repeats} of each cell: the spread between repeats is not known.")
    states = data.frame["status"].value_counts()
    if bad := int(states.get("invalid", 0) + states.get("failed", 0)):
        found.append(f"{bad} of {len(data.frame)} cells are invalid or failed; no median holds them.")
    return [
        *found,
        "The figures hold for this machine, these cores and these texts.",
        "Load generator and server share one machine, on cores of their own where there are enough.",
        "In a closed loop a user waits for an answer before it asks again: a slow server is asked less.",
    ]
