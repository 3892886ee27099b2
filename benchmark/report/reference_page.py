"""The page of results/reference: every cell of every run, and how each was made."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.charts import caption, titles
from benchmark.charts.data import RunData
from benchmark.experiments.ladder import KIND as LADDER
from benchmark.report.markdown import table
from benchmark.runs.records import RunFiles

KEYS = ["task", "workload", "texts_per_request", "users", "server"]
FIGURES = ["texts_per_s", "p50_ms", "p95_ms", "cold_start_s", "cache_hit_rate"]
INTRODUCTION = """# Reference runs

The runs behind the first page: plan, environment, every request of every cell. `make readme` writes this
page from them. Figures are medians over the valid repeats of a cell. `.venv/bin/python -m benchmark report
results/reference/NAME` makes a run's report."""


def reference_page(runs: Sequence[RunData], reference: Path) -> str:
    """Markdown: one section a run, then the folders that hold no cells."""
    parts = [INTRODUCTION]
    for run in runs:
        name = run.files.folder.name
        parts += [f"## {name}", circumstances(run.files) + ".", f"`{command(run.run)}`"]
        rows = list(cell_rows(run))
        parts.append(table(rows) if rows else "No valid cell.")
        if len(run.frame) > (valid := int((run.frame["status"] == "ok").sum())):
            parts.append(f"{len(run.frame) - valid} of {len(run.frame)} cells are invalid or failed.")
        parts.append(
            "Files: " + ", ".join(f"[{path.name}]({name}/{path.name})" for path in files_of(run.files))
        )
    shown = {run.files.folder for run in runs}
    for folder in sorted(path for path in reference.iterdir() if path.is_dir() and path not in shown):
        found = sorted(path for path in folder.rglob("*.json"))
        links = ", ".join(f"[{path.name}]({path.relative_to(reference)})" for path in found)
        parts += [f"## {folder.name}", f"Records: {links}"]
    return "\n\n".join(parts) + "\n"


def cell_rows(run: RunData) -> Iterator[dict[str, str]]:
    """One row a cell: its medians over the valid repeats."""
    for key, cells in run.where(status="ok").frame.groupby(KEYS, sort=True):
        task, workload, texts, users, server = key
        found = cells[FIGURES].median()
        yield {
            "task": str(task),
            "workload": workload_text(str(workload), int(texts), found["cache_hit_rate"]),
            "users": f"{users:,}",
            "server": titles.name(str(server)).lower(),
            "texts/s": f"{found['texts_per_s']:,.1f}",
            "p50 ms": shown(found["p50_ms"]),
            "p95 ms": shown(found["p95_ms"]),
            "cold start s": f"{found['cold_start_s']:.1f}",
            "repeats": str(len(cells)),
        }


def workload_text(workload: str, texts: int, hit_rate: float) -> str:
    batch = f", batches of {texts}" if texts > 1 else ""
    hits = f", {hit_rate:.1%} hits" if workload == "zipf" and not pd.isna(hit_rate) else ""
    return f"{workload}{hits}{batch}"


def shown(value: float) -> str:
    return "(too few)" if pd.isna(value) else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def files_of(files: RunFiles) -> list[Path]:
    return sorted(
        path for path in files.folder.iterdir() if path.name[0] != "." and path.name != "report.html"
    )


def models_text(source: str) -> str:
    return "random weights" if source == "random" else f"{source} models"


def circumstances(run: RunFiles) -> str:
    """A run's machine, models, sizes and commit."""
    record = run.read_run()
    environment, plan = record["environment"], record["plan"]
    cores, repeats = caption.cores_text(environment["cores"]["server"]), plan["repeats"]
    artefacts = record["models"]["artefacts"]
    kernels = caption.kernels(artefacts.get("translation/onnx", {}))
    notes = caption.precision_notes(artefacts.values())
    models = ", ".join([models_text(record["models"]["source"]), *notes])
    return (
        f"{environment['machine']['cpu']}, {cores} for the server and one for the load; "
        f"{kernels}{', ' if kernels else ''}"
        f"{models}; {plan['duration_s']:g} s a cell, "
        f"{repeats} repeat{'' if repeats == 1 else 's'}, commit {environment['commit']}"
    )


def command(record: dict[str, Any]) -> str:
    """What makes such a run again."""
    plan = record["plan"]
    chosen = {"models": f"models-{record['models']['source']}"}
    if record.get("kind") == LADDER:
        verb = "ladder"
    else:
        verb = "run"
        names = [name if texts == 1 else f"{name}:{texts}" for name, texts in plan["workloads"]]
        chosen |= {"servers": ",".join(plan["servers"]), "workloads": ",".join(names)}
    chosen |= {"tasks": ",".join(plan["tasks"]), "users": ",".join(map(str, plan["users"]))}
    chosen["duration"] = f"{plan['duration_s']:g}"
    # Runs of before there was a cap have none.
    if plan.get("max_duration_s"):
        chosen["max-duration"] = f"{plan['max_duration_s']:g}"
    chosen["repeats"] = str(plan["repeats"])
    options = " ".join(f"--{name} {value}" for name, value in chosen.items())
    return f".venv/bin/python -m benchmark {verb} {options}"
