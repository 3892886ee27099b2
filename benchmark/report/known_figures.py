"""Figures that two other projects quote in their READMEs, compared with those of a run."""

import json
from pathlib import Path
from typing import Any

from benchmark.charts import titles
from benchmark.charts.data import RunData
from benchmark.report.markdown import TOO_FEW, table
from benchmark.runs.records import SERVERS
from benchmark.stats.formatting import format_figure

QUOTED = Path(__file__).with_suffix(".json")
# A metric's scale and unit, and what stands for it where it has no value.
METRICS = {
    "throughput_rps": (1, "RPS", ""),
    "p50_ms": (1, "ms", TOO_FEW["p50, ms"]),
    "p95_ms": (1, "ms", TOO_FEW["p95, ms"]),
    "max_ms": (1, "ms", ""),
    "cold_start_s": (1, "s", ""),
    "model_bytes": (1e-6, "MB", ""),
    "cache_hit_rate": (100, "% hits", "no cache"),
}


def known_figures(data: RunData) -> str:
    """Every table, under its title and its source."""
    parts = []
    for quoted in json.loads(QUOTED.read_text()):
        parts.append(f"**{quoted['title']}** (quoted from the README of `{quoted['source']}`)")
        parts.append(table(row["quoted"] | measured(data, quoted["task"], row) for row in quoted["rows"]))
    return "\n\n".join(parts)


def measured(data: RunData, task: str, row: dict[str, Any]) -> dict[str, str]:
    """The medians of each server's valid repeats, in single texts, as one text a server."""
    sizes = [(record.get("model") or {}).get("bytes") for record in data.records.values()]
    frame = data.frame.assign(model_bytes=sizes)
    wanted = {"task": task, "users": row["users"], "workload": row["workload"], "texts_per_request": 1}
    for column, value in {**wanted, "status": "ok"}.items():
        frame = frame[frame[column] == value]
    medians = frame.groupby("server")[row["metrics"]].median()
    texts = {}
    for server in SERVERS:
        values = medians.loc[server].items() if server in medians.index else ()
        texts[titles.name(server).lower()] = ", ".join(
            absent if value != value else f"{format_figure(scale * value)} {unit}"
            for metric, value in values
            for scale, unit, absent in [METRICS[str(metric)]]
        )
    return {server: text or "not measured" for server, text in texts.items()}
