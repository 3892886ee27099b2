"""The README's tables of other runs than the first: the ladder, capacities, other engines, long texts among
short ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.charts import capacity as capacity_chart
from benchmark.charts import ladder as ladder_chart
from benchmark.charts import titles
from benchmark.charts.caption import commit, kernels
from benchmark.charts.data import in_order
from benchmark.charts.draw import charts_folder
from benchmark.charts.experiment_charts import records
from benchmark.experiments import capacity
from benchmark.experiments.ladder import APART, KIND
from benchmark.experiments.ladder_figures import MB, Step, ladder_of
from benchmark.report.markdown import table
from benchmark.report.reference_page import circumstances
from benchmark.runs.records import SERVERS, TASKS, RunFiles
from benchmark.stats.formatting import format_factor, format_figure

NOTHING = "Not measured."
BATCHINGS = {"request": ", batches to their end", "static": ", static batches"}


def ladder_runs(reference: Path) -> list[RunFiles]:
    """The runs in `reference` that climb the ladder."""
    runs = [RunFiles(path.parent) for path in sorted(reference.glob("*/run.json"))]
    return [run for run in runs if run.read_run().get("kind") == KIND]


def ladder_tables(reference: Path) -> str:
    """Every ladder in `reference`: its charts where they are drawn, a table a task, where it was measured."""
    parts = []
    for run in ladder_runs(reference):
        ladder = ladder_of(run)
        for task, level in dict.fromkeys((step.task, step.users) for step in ladder):
            own = [step for step in ladder if (step.task, step.users) == (task, level)]
            chart = charts_folder(run) / f"{ladder_chart.chart_name(task, level)}.png"
            if chart.is_file():
                climb = [step for step in own if step.rung.workload != APART]
                address = f"results/reference/{chart.relative_to(reference)}"
                parts.append(f"![{ladder_chart.title(climb, task)}]({address})")
            parts.append(table([ladder_row(step) for step in own]))
        name = run.folder.name
        levels = " and ".join(f"{level:,}" for level in run.read_run()["plan"]["users"])
        parts.append(
            f"{levels} users; {circumstances(run)}. A factor is over the row above, in brackets its "
            "interval. "
            f"Every cell and its requests: [{name}](results/reference/README.md#{name})."
        )
    return "\n\n".join(parts) or NOTHING


def ladder_row(step: Step) -> dict[str, str]:
    found = step.figures
    hits = f", {found['cache_hit_rate']:.1%} hits" if found["cache_hit_rate"] else ""
    texts = ", repeated texts" if step.rung.workload == APART else ""
    model, memory = (found[name] for name in ("model_bytes", "rss_peak_bytes"))
    return {
        step.task: f"{step.rung.decision}{texts}{hits}",
        "requests/s": told(found["throughput_rps"]),
        "its factor": ladder_chart.factor_text(step) or "–",
        "p95, ms": told(found["p95_ms"]),
        "model, MB": told(model / MB if model else None),
        "cold start, s": told(found["cold_start_s"]),
        "memory, MB": told(memory / MB if memory else None),
    }


def told(value: float | None) -> str:
    return "(too few)" if value is None else format_figure(value)


def capacity_tables(reference: Path) -> str:
    """The highest rates that held in every search of `reference`, one table a run; nothing without one."""
    parts = []
    for folder in sorted({path.parent for path in reference.glob(f"*/{capacity.FOLDER}/*.json")}):
        searched = [record for record in records(folder) if record["capacity"]]
        rows = [
            row
            for task in TASKS
            for row in capacity_rows([record for record in searched if record["task"] == task])
        ]
        if rows:
            name = folder.parent.name
            address = f"results/reference/{folder.relative_to(reference)}"
            parts += [table(rows), f"{capacity_note(searched)}: [{name}]({address})."]
    return "\n\n".join(parts)


def capacity_rows(searched: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """A row a server; all of one task."""
    by_server = {record["server"]: record for record in searched}
    ordered = [by_server[server] for server in in_order(by_server, SERVERS)]
    against = capacity_chart.reference(ordered)
    for record in ordered:
        found, held = record["capacity"], capacity_chart.held(record)
        steps = {step["rate"]: step for step in record["steps"]}
        yield {
            "task": record["task"],
            "server": titles.name(record["server"]).lower(),
            "p95 within, ms": f"{record['slo']['p95_ms']:,}",
            "highest rate that held, requests/s": format_figure(held) if held else "none",
            "its p95, ms": told(steps[found["held_rps"]]["p95_ms"]) if held else "–",
            "lowest that did not": format_figure(found["not_held_rps"]) if found["not_held_rps"] else "–",
            "times the first": format_factor(held / capacity_chart.held(against))
            if held and against
            else "–",
        }


def capacity_note(searched: list[dict[str, Any]]) -> str:
    environment = searched[0]["environment"]
    return (
        f"{environment['machine']['cpu']}, {of_cores(len(environment['cores']['server']))} for the server; "
        f"{searched[0]['model']['origin']}; commit {environment['commit']}. Every step of the searches"
    )


def peers_table(reference: Path) -> str:
    """Every comparison with other engines in `reference`, one table a workload."""
    parts = []
    for path in sorted(reference.glob("*/peers.json")):
        record = json.loads(path.read_text())
        for lengths, found in record["workloads"].items():
            engines = found["engines"].items()
            parts.append(table([peer_row(name, engine, found["ratios"]) for name, engine in engines]))
            machine, cores = record["environment"]["machine"], record["environment"]["cores"]["server"]
            tokens = f"{found['source_tokens_min']} to {found['source_tokens_max']} tokens"
            rounds = len(found["engines"]["ours"]["rounds"])
            parts.append(
                f"{found['texts']:,} texts of {lengths} lengths ({tokens}) on {of_cores(len(cores))} of an "
                f"{machine['cpu']}, {kernels(record['model'])}; {record['model']['origin']}; {rounds} rounds "
                f"in turn, in brackets the least and the most; {commit(record['environment'])}. "
                "Every setting that was tried: "
                f"[{path.parent.name}](results/reference/{path.relative_to(reference)})."
            )
    return "\n\n".join(parts) or NOTHING


def peer_row(name: str, engine: dict[str, Any], ratios: dict[str, dict[str, float]]) -> dict[str, str]:
    ratio = ratios.get(name)
    times = f"{ratio['median']:.2f}x ({ratio['min']:.2f}x to {ratio['max']:.2f}x)" if ratio else "–"
    searched = len(engine["searched"])
    return {
        "engine": engine["title"],
        "version": engine["version"],
        "tokens a second": f"{engine['tokens_per_s']:,.0f}",
        "ours over it": times,
        "settings": ", ".join(f"{key} {value}" for key, value in engine["settings"].items())
        + f" (best of {searched})",
    }


def mix_table(reference: Path) -> str:
    """What long texts do to short ones, for every such run in `reference`."""
    rows = list(mix_rows(reference))
    return table(rows) if rows else NOTHING


def mix_rows(reference: Path) -> Iterator[dict[str, str]]:
    for path in sorted(reference.glob("*/mix/*.json")):
        record = json.loads(path.read_text())
        mix, found = record["mix"], record["figures"]
        batching = record["environment"]["server_settings"].get("GAP_TRANSLATION_BATCHING")
        server = record["server"].replace("_", " ")
        yield {
            "server": server + BATCHINGS.get(batching, ""),
            "requests/s": f"{mix['rate']:.0f}",
            "p95 of short texts alone, ms": f"{found['short_p95_ms']:,.0f}",
            "among long ones, ms": f"{found['mixed_p95_ms']:,.0f}",
            "ratio": f"{found['p95_ratio']:.2f}x",
            "rounds": str(len(record["rounds"])),
            "kernels": kernels(record["model"]).removeprefix("kernels for "),
            "record": f"[{path.parent.parent.name}](results/reference/{path.relative_to(reference)})",
        }


def of_cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"
