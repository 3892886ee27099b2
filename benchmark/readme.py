"""Writes the README's figures and chart from the runs in results/reference, so that no figure is typed."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.environment import ROOT
from benchmark.records import RunFiles

REFERENCE = ROOT / "results" / "reference"
README = ROOT / "README.md"


def section(text: str, name: str, content: str) -> str:
    """`text` with what stands behind the marker `<!-- name -->` replaced, up to its end marker if any."""
    block = f"<!-- {name} -->\n{content}\n<!-- /{name} -->"
    pattern = rf"<!-- {name} -->(?:.*?<!-- /{name} -->)?"
    replaced, count = re.subn(pattern, lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"README.md should have one marker <!-- {name} -->, not {count}")
    return replaced


def figures_table(run: RunFiles) -> str:
    """The run's medians over its repeats as a Markdown table, its machine line beneath."""
    table = run.table()
    valid = table[table["status"] == "ok"]
    keys = ["server", "task", "users"]
    lines = ["| server | task | users | RPS | p50 ms | p95 ms |", "|---|---|---:|---:|---:|---:|"]
    for key, cells in valid.groupby(keys, sort=False):
        server, task, users = key
        medians = cells[["throughput_rps", "p50_ms", "p95_ms"]].apply(pd.to_numeric).median()
        lines.append(
            f"| {str(server).replace('_', ' ')} | {task} | {users} | {medians['throughput_rps']:.1f} "
            f"| {shown(medians['p50_ms'])} | {shown(medians['p95_ms'])} |"
        )
    return "\n".join([*lines, "", machine_line(run.read_run())])


def shown(value: float) -> str:
    return "(too few)" if pd.isna(value) else f"{value:,.0f}"


def machine_line(record: dict[str, Any]) -> str:
    machine, plan = record["environment"]["machine"], record["plan"]
    source = record["models"]["source"]
    weights = "random weights of the hub models' size" if source == "random" else f"{source} models"
    return (
        f"{machine['cpu']}, {len(record['environment']['cores']['server'])} core for the server and one for "
        f"the load; {weights}; {plan['duration_s']:g} s a cell, {plan['repeats']} repeats; no text twice."
    )


def write_readme(readme: Path = README, reference: Path = REFERENCE) -> bool:
    """Brings the page up to date with the reference run; whether anything changed."""
    before = readme.read_text()
    run = RunFiles.latest(reference)
    charts = sorted((run.folder / "charts").glob("throughput-translation-unique-x1.png"))
    pictures = "\n".join(
        f"![{path.stem.replace('-', ' ')}]({path.relative_to(readme.parent)})" for path in charts
    )
    command = "`" + readme_command(run.read_run()) + "` makes it again."
    after = section(before, "chart", pictures)
    after = section(after, "figures", f"{figures_table(run)} {command}")
    readme.write_text(after)
    return after != before


def readme_command(record: dict[str, Any]) -> str:
    plan = record["plan"]
    target = "bench" if len(plan["servers"]) > 1 else f"bench-{plan['servers'][0].replace('_', '-')}"
    return (
        f"make {target} SOURCE={record['models']['source']} "
        f"DURATION={plan['duration_s']:g} REPEATS={plan['repeats']}"
    )
