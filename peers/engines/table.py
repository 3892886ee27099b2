"""A comparison as a table: one row an engine, with our ratio to it."""

from typing import Any

from rich.table import Table

from benchmark.stats.formatting import format_number
from peers.engines.contest import plain


def table(lengths: str, found: dict[str, Any]) -> Table:
    """The engines of one workload, each at its best settings."""
    title = (
        f"translation, {lengths} lengths: {found['texts']:,} texts of {found['source_tokens_min']} to "
        f"{found['source_tokens_max']} tokens, no HTTP"
    )
    shown = Table(title=title, title_justify="left")
    shown.add_column("engine")
    right = ("tokens/s", "min to max", "ours / it", "min to max", "tokens as float32 %", "wrong lengths")
    for heading in right:
        shown.add_column(heading, justify="right")
    shown.add_column("best settings", overflow="fold")
    for name, engine in found["engines"].items():
        speeds = [one["tokens_per_s"] for one in engine["rounds"]]
        ratio = found["ratios"].get(name)
        identical = engine["identical_to_float32"]
        shown.add_row(
            engine["title"],
            format_number(engine["tokens_per_s"], 0),
            f"{format_number(min(speeds), 0)} to {format_number(max(speeds), 0)}",
            format_number(ratio["median"], 2) if ratio else "",
            f"{format_number(ratio['min'], 2)} to {format_number(ratio['max'], 2)}" if ratio else "",
            "" if identical is None else format_number(100 * identical, 1),
            str(engine["wrong_lengths"]),
            plain(engine["settings"]),
        )
    return shown
