"""The report's tables of a server at its limit: its share of the model's own speed, and rates beyond it."""

from collections.abc import Iterator
from typing import Any

from benchmark.charts import titles
from benchmark.charts.data import RunData, Slice
from benchmark.report.tables import number
from benchmark.runs.records import RunFiles, read_json
from benchmark.stats.open_loop import recovery_line, table


def ceiling_shares(data: RunData, part: Slice) -> Iterator[dict[str, str]]:
    """One row a server: its best median texts a second, and which share that is of <run>/ceiling.json.

    The ceiling is what the INT8 model does on as many cores as the server has, without HTTP. None is given
    where the run has no ceiling of these models, or where a cache answers some of the texts.
    """
    path = data.files.folder / "ceiling.json"
    found = read_json(path)["tasks"].get(part.task) if path.is_file() else None
    artefacts = (data.run.get("models") or {}).get("artefacts") or {}
    model = {key: value for key, value in artefacts.get(f"{part.task}/onnx", {}).items() if key != "files"}
    if found is None or part.workload != "unique" or found["model"] != model:
        return
    cores = len(data.run["environment"]["cores"]["server"])
    ceiling = found["best"]["texts_per_s"] * cores
    for server, medians in data.of(part).medians("texts_per_s").items():
        if medians:
            users = max(medians, key=lambda level: medians[level])
            yield {
                "server": titles.name(server),
                "best, texts/s": number(medians[users], 2),
                "at users": f"{users:,}",
                f"ceiling on {cores} core{'s' if cores > 1 else ''}, texts/s": number(ceiling, 2),
                "served / ceiling, %": number(100 * medians[users] / ceiling, 0),
            }


def open_loops(files: RunFiles) -> Iterator[dict[str, Any]]:
    """Each open loop of <run>/open_loop: a title, what its figures mean, one row an offered rate."""
    for path in sorted((files.folder / "open_loop").glob("*.json")):
        record = read_json(path)
        shown = table(record)
        headings = [str(column.header) for column in shown.columns]
        offer = record["offer"]
        yield {
            "title": f"{titles.name(offer['server'])}, {offer['task']}",
            "note": str(shown.title),
            "rows": [
                dict(zip(headings, map(str, values), strict=True))
                for values in zip(*(column.cells for column in shown.columns), strict=True)
            ],
            "recovery": recovery_line(record) if record["recovery"] else "",
        }
