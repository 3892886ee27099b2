"""The report's tables of what was measured, as data frames: figures as numbers, units in the headings."""

import json
from typing import Any

import pandas as pd
from markupsafe import Markup

from benchmark.charts import caption, footprint, titles
from benchmark.charts.data import Cells, RunData
from benchmark.stats.figures import stability
from benchmark.stats.formatting import ABSENT, format_number
from model_export.precision import precision_of, verified

MB = 1e6
# Decimals of a column by the last word of its heading, the unit; other figures are whole numbers.
DECIMALS = {"RPS": 2, "texts/s": 2, "s": 2, "ms": 1, "MB": 1, "ratio": 3, "share": 3, "size": 1}
FIGURES = {
    "RPS": "throughput_rps",
    "texts/s": "texts_per_s",
    "p50, ms": "p50_ms",
    "p95, ms": "p95_ms",
    "p99, ms": "p99_ms",
    "queue p50, ms": "queue_p50_ms",
    "inference p50, ms": "inference_p50_ms",
    "server CPU, %": "server_cpu_percent",
    "cache hits, share": "cache_hit_rate",
    "batch size": "batch_size_mean",
}
CELL_FIGURES = FIGURES | {
    "max, ms": "max_ms",
    "start, s": "cold_start_s",
    "peak, MB": "rss_peak_bytes",
    "load CPU, %": "load_cpu_percent",
    "requests": "requests",
}


def figures(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    """Figures of cells under their headings; a column that says nothing new is left out."""
    frame = frame.assign(rss_peak_bytes=frame["rss_peak_bytes"] / MB)
    table = frame[[*columns.values()]].set_axis([*columns], axis=1).dropna(axis=1, how="all")
    single = (frame["texts_per_request"] == 1).all()
    return table.drop(columns="texts/s", errors="ignore") if single else table


def medians(cells: Cells) -> pd.DataFrame:
    """One row a server and level: medians over the valid repeats, as the charts draw them."""
    frame = cells.frame
    levels = [frame["server"], frame["users"]]
    valid = frame["status"] == "ok"
    sizes, valid_sizes = valid.groupby(levels).size(), valid.groupby(levels).sum()
    table = figures(frame, FIGURES)[valid].groupby(levels).median().reindex(sizes.index)
    table.insert(0, "valid cells", valid_sizes.astype(str) + " of " + sizes.astype(str))
    table["failed requests"] = frame["failures"].groupby(levels).sum()
    return table.reindex(cells.servers, level=0).rename(index=titles.name, level=0).reset_index()


def footprints(data: RunData) -> pd.DataFrame:
    """One row a server: cold start, model files and memory, as the chart draws them."""
    table = pd.DataFrame(footprint.measured(data), index=data.servers, dtype=float)
    return table.rename(index=titles.name).rename_axis("server").reset_index()


def every_cell(data: RunData) -> pd.DataFrame:
    """One row a cell as it was recorded, with links to its files."""
    table = figures(data.frame, CELL_FIGURES)
    table.insert(0, "cell", [*data.records])
    table.insert(1, "status", [status(record) for record in data.records.values()])
    spreads = [(record.get("figures") or {}).get("window_spread") for record in data.records.values()]
    table["throughput"] = [stability(spread) for spread in spreads]
    table["files"] = [links(data, name) for name in data.records]
    return table


def status(record: dict[str, Any]) -> str:
    """A cell's status, with the reasons and marked where it is not valid."""
    reasons = ": ".join([record["status"], "; ".join(record["invalid_reasons"])])
    return "ok" if record["status"] == "ok" else Markup('<span class="bad">{}</span>').format(reasons)


def links(data: RunData, name: str) -> Markup:
    """Links to the files of a cell that are in the run's folder."""
    names = sorted(path.name for path in data.files.cells_folder.glob(f"{name}.*"))
    link = Markup('<a href="cells/{}">{}</a>')
    return Markup(", ").join(link.format(file, file.removeprefix(f"{name}.")) for file in names)


def models(data: RunData) -> pd.DataFrame:
    """One row an artefact of the manifest."""
    artefacts = (data.run.get("models") or {}).get("artefacts") or {}
    return pd.DataFrame(
        {
            "artefact": name,
            "architecture": artefact.get("architecture"),
            "origin": caption.origin(artefact),
            "parameters": artefact.get("parameters"),
            "size, MB": artefact["bytes"] / MB if artefact.get("bytes") else None,
            "weights": "random" if artefact.get("trained") is False else "trained",
            "precision": precision_of(artefact),
            "verified (95 % interval)": verified(artefact),
        }
        for name, artefact in artefacts.items()
    )


def facts(content: dict[str, Any] | None) -> dict[str, str]:
    """Nested facts by dotted name, what is not text as JSON."""
    flat = pd.json_normalize(content or {}).to_dict("records")[0]
    return {str(name): fact if isinstance(fact, str) else json.dumps(fact) for name, fact in flat.items()}


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """A table with its figures as text; what is absent is a dash."""

    def text(column: pd.Series) -> pd.Series:
        if not pd.api.types.is_numeric_dtype(column):
            return column.fillna(ABSENT).replace("", ABSENT)
        decimals = DECIMALS.get(str(column.name).split()[-1], 0)
        return column.map(lambda value: format_number(value, decimals, ABSENT))

    return table.apply(text)


def classes(texts: pd.DataFrame) -> list[str]:
    """The CSS class of each column: words are read from the left edge, figures end at the right one."""
    figures = texts.apply(lambda column: column.str.match(rf"[\d{ABSENT}]").any())
    return ["figures" if one else "words" for one in figures]
