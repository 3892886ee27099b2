"""The generated blocks of README.md and docs/: each a table or a chart of runs in results/reference.

A block of a run that is not there is empty. A run of a tree with uncommitted changes is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.charts import caption, headline, style
from benchmark.charts.data import Drawing, RunData
from benchmark.charts.draw import drawings, experiment_drawings
from benchmark.experiments import head_of_line_blocking
from benchmark.experiments.ladder_figures import ladder_of
from benchmark.report.known_figures import known_figures
from benchmark.report.markdown import table
from benchmark.report.settings_table import settings_tables
from benchmark.report.summary import summary
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import RunFiles, read_json
from benchmark.stats.formatting import (
    ABSENT,
    SPEED_UNITS,
    format_count,
    format_factor,
    format_figure,
    format_users,
)
from benchmark.stats.repeats import repeats_of

BATCHING = "GAP_TRANSLATION_BATCHING"


@dataclass(frozen=True)
class Reference:
    """The reference runs as a page sees them: `folder`, and `address` from the page to it."""

    folder: Path
    address: str

    def run(self, name: str) -> RunData | None:
        """A run of cells; None where there is none of this name."""
        if not (self.folder / name / "run.json").is_file():
            return None
        data = RunData(RunFiles(self.folder / name))
        refuse_uncommitted(data.run["environment"], name)
        return data

    def records(self, name: str, pattern: str) -> dict[Path, dict[str, Any]]:
        """The records of a run that belong to no cell."""
        found = {path: read_json(path) for path in sorted((self.folder / name).glob(pattern))}
        for record in found.values():
            refuse_uncommitted(record["environment"], name)
        return found

    def link(self, path: Path) -> str:
        """A link with the run's name as its text."""
        place = path.relative_to(self.folder)
        return f"[{place.parts[0]}]({self.address}/{place})"


def refuse_uncommitted(environment: dict[str, Any], name: str) -> None:
    if environment.get("dirty"):
        raise BenchmarkError(f"run {name} was measured with uncommitted changes; measure it at a commit")


def circumstances(environment: dict[str, Any], artefacts: list[dict[str, Any]], *more: str) -> str:
    """Machine, kernels, models, `more` (durations, repeats) and commit of a measurement."""
    origins = ["random weights" if one.get("trained") is False else caption.origin(one) for one in artefacts]
    models = [*map(caption.kernels, artefacts), *origins, *caption.precision_notes(artefacts)]
    parts = [caption.machine(environment), *models, *more, caption.commit(environment)]
    return ", ".join(dict.fromkeys(filter(None, parts)))


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


def peers(reference: Reference, run: str, task: str, lengths: str, *more: str) -> str:
    """A task in process by each engine, on texts of mixed or of equal lengths; `more` are columns."""
    for path, record in reference.records(run, "peers.json").items():
        if task not in record["tasks"]:
            continue
        model, workloads = record["tasks"][task]["model"], record["tasks"][task]["workloads"]
        workload = workloads[lengths]
        rows = [
            {
                **peer_row(task, engine, workload["ratios"].get(name)),
                **{f"fastest {key}": format_settings(engine) for key in more},
            }
            for name, engine in workload["engines"].items()
        ]
        errors = {"version": "failed", SPEED_UNITS[task]: ABSENT, "our speed-up": ABSENT}
        rows += [{"engine": name, **errors} for name in workload.get("errors", {})]
        rounds = format_count(len(workload["engines"]["ours"]["rounds"]), "round")
        tokens = f"{workload['source_tokens_min']} to {workload['source_tokens_max']} tokens"
        context = circumstances(record["environment"], [model], f"{rounds} in turns")
        return (
            f"{table(rows)}\n\n{workload['texts']:,} texts of {lengths} lengths ({tokens}); {context}. "
            f"Brackets: smallest and largest of the rounds. All settings tried: {reference.link(path)}."
        )
    return ""


def peer_row(task: str, engine: dict[str, Any], ratio: dict[str, float] | None) -> dict[str, str]:
    speed_up = f"{ratio['median']:.2f}x ({ratio['min']:.2f}x to {ratio['max']:.2f}x)" if ratio else ABSENT
    return {
        "engine": engine["title"],
        "version": engine["version"],
        SPEED_UNITS[task]: format_figure(engine["tokens_per_s"]),
        "our speed-up": speed_up,
    }


def format_settings(engine: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in engine["settings"].items())
    return f"{settings} (best of {len(engine['searched'])})"


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
    "peers": peers,
    "blocking": blocking,
    "known-figures": known,
    "settings": lambda reference: settings_tables(),
}
