"""The report's tables of what was measured: medians, footprints, every cell, models, facts."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmark.charts import caption, footprint, titles
from benchmark.charts.data import Cells, RunData, cell_of
from benchmark.stats import figures as stats
from model_export.precision import precision_of, verified

ABSENT = "–"
MB = 1e6


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
    if cells.frame["batch_size_mean"].notna().any():
        columns["texts a batch"] = ("batch_size_mean", 1)
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


def stabilities(data: RunData) -> dict[str, str]:
    """Cell -> whether its throughput held still over its window; cells without requests are left out."""
    found = {}
    for row in data.rows():
        requests = data.requests(row)
        if len(requests):
            spread = stats.window_spread(requests["end_s"][requests["ok"]], row["duration_s"])
            found[cell_of(row).name] = stats.stability(spread)
    return found


def cell_row(data: RunData, row: pd.Series, stable: dict[str, str]) -> dict[str, Any]:
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
            "throughput": stable.get(cell.name, ABSENT),
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
            "precision": precision_of(artefact),
            "verified (95 % interval)": verified(artefact) or ABSENT,
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
