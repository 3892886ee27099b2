"""The operators of the native kernels beside their roof: the table of roofline.json."""

from collections.abc import Iterator
from typing import Any

from benchmark.report.markdown import table
from benchmark.report.reference import Reference, circumstances
from benchmark.stats.formatting import ABSENT, format_figure

# Operators that make so much of the time are told apart.
SHOWN_SHARE = 0.95
GIGA = 1e9


def roofline(reference: Reference, run: str, task: str) -> str:
    """The operators of a task, and what the CPU can do."""
    for path, record in reference.records(run, "roofline.json").items():
        content, roof = record["tasks"][task], record["roof"]
        *caches, (_, memory) = roof["levels"]
        levels = [f"{format_figure(speed / GIGA)} from {size >> 10:,} KB" for size, speed in caches]
        reads = ", ".join([*levels, f"{format_figure(memory / GIGA)} from memory"])
        context = circumstances(record["environment"], [content["model"]], f"{content['slots']} slots")
        return (
            f"{table(operator_rows(content))}\n\nRoof: {format_figure(roof['products_per_s'] / GIGA)} G "
            f"products/s; GB/s read: {reads}. {context}. All figures: {reference.link(path)}."
        )
    return ""


def operator_rows(task: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A row an operator, until they make SHOWN_SHARE of the time."""
    shown = 0.0
    for row in task["operators"]:
        if shown >= SHOWN_SHARE:
            return
        shown += row["share_of_time"]
        speed, share, best = row["products_per_s"], row["share_of_roof"], row["share_of_roof_best"]
        yield {
            "graph": row["graph"],
            "operator": row["operator"],
            "of the time": f"{row['share_of_time']:.0%}",
            "G products/s": format_figure(speed and speed / GIGA),
            "bound by": row["bound"] or "floats",
            "of the roof": ABSENT if share is None else f"{share:.0%}",
            "shortest run": ABSENT if best is None else f"{best:.0%}",
        }
