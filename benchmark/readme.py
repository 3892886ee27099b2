"""Writes the README's figures and chart from the runs in results/reference, so that no figure is typed."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.environment import ROOT
from benchmark.records import RunFiles, RunNotFound

REFERENCE = ROOT / "results" / "reference"
README = ROOT / "README.md"
HEADLINE = "throughput-translation-unique-x1.png"
COLUMNS = "| models | server | task | workload | users | texts/s | p50 ms | p95 ms | cold start s |"


def section(text: str, name: str, content: str) -> str:
    """`text` with what stands behind the marker `<!-- name -->` replaced, up to its end marker if any."""
    block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
    pattern = rf"<!-- {name} -->(?:.*?<!-- /{name} -->)?"
    replaced, count = re.subn(pattern, lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README.md should have one marker <!-- {name} -->, not {count}")
    return replaced


def reference_runs(reference: Path) -> list[RunFiles]:
    """The runs in `reference`, oldest first; RunNotFound where there is none."""
    runs = [RunFiles(path.parent) for path in reference.glob("*/run.json")]
    if not runs:
        raise RunNotFound(f"no run under {reference}")
    return sorted(runs, key=lambda run: run.read_run()["started_at"])


def figures_table(runs: list[RunFiles]) -> str:
    """Medians over the valid repeats of each cell as a Markdown table, and each run's circumstances."""
    lines = [COLUMNS, "|---|---|---|---|---:|---:|---:|---:|---:|"]
    for run in runs:
        table = run.table()
        source = models_text(run.read_run()["models"]["source"])
        keys = ["task", "workload", "texts_per_request", "users", "server"]
        for key, cells in table[table["status"] == "ok"].groupby(keys, sort=True):
            task, workload, texts, users, server = key
            figures = ["texts_per_s", "p50_ms", "p95_ms", "cold_start_s", "cache_hit_rate"]
            found = cells[figures].apply(pd.to_numeric).median()
            lines.append(
                f"| {source} | {str(server).replace('_', ' ')} | {task} "
                f"| {workload_text(workload, texts, found['cache_hit_rate'])} | {users} "
                f"| {found['texts_per_s']:,.1f} | {shown(found['p50_ms'])} | {shown(found['p95_ms'])} "
                f"| {found['cold_start_s']:.1f} |"
            )
    return "\n".join([*lines, "", *(f"- {circumstances(run)}" for run in runs)])


def models_text(source: str) -> str:
    return "random weights" if source == "random" else source


def workload_text(workload: str, texts: int, hit_rate: float) -> str:
    batch = f", batches of {texts}" if texts > 1 else ""
    return f"{workload}, {hit_rate:.1%} hits{batch}" if workload == "zipf" else f"{workload}{batch}"


def shown(value: float) -> str:
    return "(too few)" if pd.isna(value) else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def circumstances(run: RunFiles) -> str:
    """A run's name, machine, sizes, commit, and the command that makes it again."""
    record = run.read_run()
    environment, plan = record["environment"], record["plan"]
    repeats = plan["repeats"]
    return (
        f"`{run.folder.name}`: {environment['machine']['cpu']}, "
        f"{len(environment['cores']['server'])} core for the server and one for the load; "
        f"{plan['duration_s']:g} s a cell, {repeats} "
        f"repeat{'' if repeats == 1 else 's'}, commit {environment['commit']}; `{command(record)}`"
    )


def command(record: dict[str, Any]) -> str:
    plan, source = record["plan"], record["models"]["source"]
    workloads = ",".join(name if texts == 1 else f"{name}:{texts}" for name, texts in plan["workloads"])
    return (
        f".venv/bin/python -m benchmark run --models models-{source} --servers {','.join(plan['servers'])} "
        f"--tasks {','.join(plan['tasks'])} --workloads {workloads} --users "
        f"{','.join(map(str, plan['users']))} --duration {plan['duration_s']:g} --repeats {plan['repeats']}"
    )


def write_readme(readme: Path = README, reference: Path = REFERENCE) -> bool:
    """Brings the page up to date with the reference runs; whether anything changed."""
    before = readme.read_text()
    runs = reference_runs(reference)
    pictures = [run.folder / "charts" / HEADLINE for run in runs]
    charts = [path.relative_to(readme.parent) for path in pictures if path.is_file()]
    after = section(before, "chart", f"![Throughput by users, translation]({charts[-1]})" if charts else "")
    after = section(after, "figures", figures_table(runs))
    readme.write_text(after)
    return after != before
