"""The generated blocks of README.md and docs/: each a table or a chart of runs in results/reference.

A block of a run that is not there is empty. A run of a tree with uncommitted changes is refused.
"""

from collections.abc import Callable

from benchmark.charts import headline, style
from benchmark.charts.data import Drawing, RunData
from benchmark.charts.draw import drawings, experiment_drawings
from benchmark.experiments import head_of_line_blocking
from benchmark.experiments.ladder_figures import ladder_of
from benchmark.report.known_figures import known_figures
from benchmark.report.markdown import table
from benchmark.report.peers import deployments, engines, engines_by_cpu, server_settings, servers, sizing
from benchmark.report.reference import Reference, circumstances
from benchmark.report.roofline import roofline
from benchmark.report.settings_table import settings_tables
from benchmark.report.summary import summary
from benchmark.stats.formatting import format_count, format_factor, format_figure, format_users
from benchmark.stats.repeats import repeats_of

BATCHING = "GAP_TRANSLATION_BATCHING"


def run_circumstances(data: RunData) -> str:
    plan, artefacts = data.run["plan"], data.run["models"]["artefacts"]
    durations = f"{plan['duration_s']:g} s a cell", format_count(plan["repeats"], "repeat")
    return circumstances(data.run["environment"], [*artefacts.values()], *durations)


def find_drawing(reference: Reference, run: str, name: str) -> Drawing | None:
    """The chart `name` of a run, of its cells or of what else its folder holds."""
    data = reference.run(run)
    if data is None:
        reference.records(run, "*/*.json")
    charts = drawings(data) if data else experiment_drawings(reference.folder / run)
    return next((chart for chart in charts if chart.name == name), None)


def finding(reference: Reference, run: str, name: str) -> str:
    """The title of a chart, which is a sentence."""
    drawing = find_drawing(reference, run, name)
    with style.applied():
        return f"**{drawing.draw().title}.**" if drawing else ""


def chart(reference: Reference, run: str, name: str) -> str:
    """A chart with its title as alternative text."""
    title = finding(reference, run, name).strip("*.")
    return f"![{title}]({reference.address}/{run}/charts/{name}.png)" if title else ""


def figures(reference: Reference, run: str) -> str:
    """The headline's table: a row a task and server."""
    data = reference.run(run)
    rows = list(summary(data, repeats_of(data.files))) if data else []
    if data is None or not rows:
        return ""
    columns = "task", "server", "requests/s", "times the baseline", "p95, ms"
    context = f"{format_users(headline.level_of(data) or 0)}, unique texts; {run_circumstances(data)}"
    note = f"Brackets: 95 % interval. All cells: {reference.link(data.files.folder)}."
    return f"{table({name: row[name] for name in columns} for row in rows)}\n\n{context}. {note}"


def ladder(reference: Reference, run: str, task: str) -> str:
    """A row a decision."""
    data = reference.run(run)
    steps = [step for step in ladder_of(data.files) if step.task == task] if data else []
    if data is None or not steps:
        return ""
    context = f"{' and '.join(map(format_users, data.levels))}; {run_circumstances(data)}"
    rows = (step.row(task) for step in steps)
    return f"{table(rows)}\n\n{context}. Speed-up: over the row above, and its 95 % interval."


def blocking(reference: Reference, *runs: str) -> str:
    """What a few long texts cost the short ones: a row a run."""
    rows = []
    for run in runs:
        for path, record in reference.records(run, f"{head_of_line_blocking.FOLDER}/*.json").items():
            environment, figures = record["environment"], record["figures"]
            rows.append(
                {
                    "batching": environment["server_settings"].get(BATCHING, "continuous"),
                    "requests/s": format_figure(record["load"]["rate"]),
                    "p95 of short texts alone, ms": format_figure(figures["short_p95_ms"]),
                    "among long ones, ms": format_figure(figures["mixed_p95_ms"]),
                    "ratio": format_factor(figures["p95_ratio"]),
                    "rounds": str(len(record["rounds"])),
                    "measured on": circumstances(environment, [record["model"]]),
                    "record": reference.link(path),
                }
            )
    return table(rows)


def known(reference: Reference, run: str) -> str:
    data = reference.run(run)
    return f"{known_figures(data)}\n\nMeasured: {run_circumstances(data)}." if data else ""


BLOCKS: dict[str, Callable[..., str]] = {
    "finding": finding,
    "chart": chart,
    "figures": figures,
    "ladder": ladder,
    "engines": engines,
    "engines-by-cpu": engines_by_cpu,
    "servers": servers,
    "server-settings": server_settings,
    "deployments": deployments,
    "sizing": sizing,
    "roofline": roofline,
    "blocking": blocking,
    "known-figures": known,
    "settings": lambda reference: settings_tables(),
}
