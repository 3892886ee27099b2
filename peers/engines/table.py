"""A comparison as a table: one row per engine, with our speed-up over it."""

from typing import Any

from rich.table import Column, Table

from benchmark.stats.formatting import SPEED_UNITS, format_number
from peers.engines.registry import format_settings


def workload_table(task: str, lengths: str, workload: dict[str, Any]) -> Table:
    """The engines of one workload, each with its fastest settings."""
    tokens = f"{workload['source_tokens_min']} to {workload['source_tokens_max']} tokens"
    title = f"{task}, {lengths} lengths: {workload['texts']:,} texts of {tokens}, without HTTP"
    speed, ranges = SPEED_UNITS[task], "min to max"
    figures = (speed, ranges, "our speed-up", ranges, "same as float32 %", "wrong lengths")
    columns = [Column(heading, justify="right") for heading in figures]
    table = Table("engine", *columns, Column("settings", overflow="fold"), title=title, title_justify="left")
    for name, engine in workload["engines"].items():
        identical, ratio = engine["identical_to_float32"], workload["ratios"].get(name, {})
        table.add_row(
            engine["title"],
            *with_range([one["tokens_per_s"] for one in engine["rounds"]], engine["tokens_per_s"], 0),
            *with_range([*ratio.values()], ratio.get("median"), 2),
            format_number(None if identical is None else 100 * identical, 1),
            str(engine["wrong_lengths"]),
            format_settings(engine["settings"]),
        )
    for name, error in workload.get("errors", {}).items():
        table.add_row(name, *[""] * len(figures), error)
    return table


def with_range(values: list[float], median: float | None, digits: int) -> tuple[str, str]:
    """The median, and the least to the most of the values; empty without values."""
    if not values:
        return "", ""
    least, most = (format_number(value, digits) for value in (min(values), max(values)))
    return format_number(median, digits), f"{least} to {most}"
