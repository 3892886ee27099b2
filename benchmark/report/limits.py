"""The report's tables of a server at its limit: its share of the offline throughput, and its open loops."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmark.charts import titles
from benchmark.charts.data import RunData, Slice
from benchmark.runs.records import RunFiles, read_json
from benchmark.stats.formatting import format_count
from benchmark.stats.open_loop import recovery_line, table


def ceiling_shares(data: RunData, part: Slice) -> pd.DataFrame:
    """One row a server: its best median texts a second, and which share that is of <run>/ceiling.json.

    The ceiling is what the INT8 model does on as many cores as the server has, without HTTP. None is given
    where the run has no ceiling of these models, or where a cache answers some of the texts.
    """
    path = data.files.folder / "ceiling.json"
    ceiling = read_json(path)["tasks"].get(part.task) if path.is_file() else None
    artefact = ((data.run.get("models") or {}).get("artefacts") or {}).get(f"{part.task}/onnx", {})
    model = {key: value for key, value in artefact.items() if key != "files"}
    if ceiling is None or part.workload != "unique" or ceiling["model"] != model:
        return pd.DataFrame()
    best = pd.DataFrame(data.of(part).medians("texts_per_s")).dropna(axis=1, how="all")
    cores = len(data.run["environment"]["cores"]["server"])
    limit = ceiling["best"]["texts_per_s"] * cores
    table = pd.DataFrame({"best, texts/s": best.max(), "at users": best.idxmax()})
    table[f"ceiling on {format_count(cores, 'core')}, texts/s"] = limit
    table["served / ceiling, %"] = 100 * best.max() / limit
    return table.rename(index=titles.name).rename_axis("server").reset_index()


def open_loops(files: RunFiles) -> Iterator[dict[str, Any]]:
    """Each open loop of <run>/open_loop: a title, what its figures mean, one row an offered rate."""
    for path in sorted((files.folder / "open_loop").glob("*.json")):
        record = read_json(path)
        rates = table(record)
        offer = record["offer"]
        yield {
            "title": f"{titles.name(offer['server'])}, {offer['task']}",
            "note": str(rates.title),
            "rows": pd.DataFrame({str(column.header): [*column.cells] for column in rates.columns}),
            "recovery": recovery_line(record) if record["recovery"] else "",
        }
