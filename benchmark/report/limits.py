"""The report's tables of a server at its limit: its share of the offline throughput, and its open loops."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmark.charts import titles
from benchmark.charts.data import RunData, Slice
from benchmark.runs.records import RunFiles, read_json
from benchmark.stats.formatting import format_count
from benchmark.stats.open_loop import rate_row, rates_note, recovery_line


def offline_shares(data: RunData, part: Slice) -> pd.DataFrame:
    """One row a server: its best median texts a second, and its share of the offline throughput.

    That is what the INT8 model does on as many cores as the server has, without HTTP, in
    <run>/offline_throughput.json. Empty where it was not measured with these models, or where a cache
    answers some of the texts.
    """
    path = data.files.folder / "offline_throughput.json"
    offline = read_json(path)["tasks"].get(part.task) if path.is_file() else None
    artefact = ((data.run.get("models") or {}).get("artefacts") or {}).get(f"{part.task}/onnx", {})
    model = {key: value for key, value in artefact.items() if key != "files"}
    if offline is None or part.workload != "unique" or offline["model"] != model:
        return pd.DataFrame()
    best = pd.DataFrame(data.of(part).medians("texts_per_s")).dropna(axis=1, how="all")
    cores = len(data.run["environment"]["cores"]["server"])
    offline_texts_per_s = offline["best"]["texts_per_s"] * cores
    table = pd.DataFrame({"best, texts/s": best.max(), "at users": best.idxmax()})
    table[f"offline on {format_count(cores, 'core')}, texts/s"] = offline_texts_per_s
    table["served / offline, %"] = 100 * best.max() / offline_texts_per_s
    return table.rename(index=titles.name).rename_axis("server").reset_index()


def open_loops(files: RunFiles) -> Iterator[dict[str, Any]]:
    """Each open loop of <run>/open_loop: a title, what its figures mean, one row an offered rate."""
    for path in sorted((files.folder / "open_loop").glob("*.json")):
        record = read_json(path)
        offer = record["offer"]
        yield {
            "title": f"{titles.name(offer['server'])}, {offer['task']}",
            "note": rates_note(record),
            "rows": pd.DataFrame(map(rate_row, record["rates"])),
            "recovery": recovery_line(record) if record["recovery"] else "",
        }
