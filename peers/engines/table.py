"""A comparison as a table: one row per engine, with our speed-up over it."""

from typing import Any

from rich.table import Table

from benchmark.stats.formatting import format_number
from peers.engines.registry import format_settings


def workload_table(lengths: str, workload: dict[str, Any]) -> Table:
    """The engines of one workload, each with its fastest settings."""
    tokens = f"{workload['source_tokens_min']} to {workload['source_tokens_max']} tokens"
    title = f"translation, {lengths} lengths: {workload['texts']:,} texts of {tokens}, without HTTP"
    table = Table(title=title, title_justify="left")
    table.add_column("engine")
    for heading in (
        "tokens/s",
        "min to max",
        "our speed-up",
        "min to max",
        "same as float32 %",
        "wrong lengths",
    ):
        table.add_column(heading, justify="right")
    table.add_column("fastest settings", overflow="fold")
    for name, engine in workload["engines"].items():
        speeds = [one["tokens_per_s"] for one in engine["rounds"]]
        ratio = workload["ratios"].get(name)
        identical = engine["identical_to_float32"]
        table.add_row(
            engine["title"],
            format_number(engine["tokens_per_s"], 0),
            format_range(min(speeds), max(speeds), 0),
            format_number(ratio["median"], 2) if ratio else "",
            format_range(ratio["min"], ratio["max"], 2) if ratio else "",
            format_number(None if identical is None else 100 * identical, 1),
            str(engine["wrong_lengths"]),
            format_settings(engine["settings"]),
        )
    return table


def format_range(least: float, most: float, digits: int) -> str:
    return f"{format_number(least, digits)} to {format_number(most, digits)}"
