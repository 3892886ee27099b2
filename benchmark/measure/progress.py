"""Shows a run while it is measured: cell, phase, live figures, time left. Plain lines off a terminal."""

import time
from datetime import timedelta
from statistics import fmean
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.runs.records import Cell
from benchmark.stats.formatting import format_number, rich_table

PLAIN_INTERVAL_S = 10.0
CELL_OVERHEAD_S = 15.0


class Progress:
    """A context manager around a run with `missing` of `total` cells left, about `cell_s` of load each."""

    def __init__(self, total: int, missing: int, cell_s: float, console: Console | None = None) -> None:
        self.console = console or Console()
        self._total, self._left = total, missing
        self._expected_s = cell_s + CELL_OVERHEAD_S
        self._measured_s: list[float] = []
        # The line that is rewritten in place; off a terminal rich prints nothing of it.
        self._line = self.console.status("")

    def __enter__(self) -> Self:
        self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.stop()

    def begin(self, cell: Cell) -> None:
        self._left -= 1
        self._label = f"[{self._total - self._left}/{self._total}] {cell.name}"
        self._started_s = time.monotonic()
        self._printed = ("", 0.0)

    def show(self, phase: str, event: dict[str, Any] | None = None) -> None:
        """The current phase of the cell, with the load generator's live figures where there are any."""
        now_s = time.monotonic()
        live = ""
        if event and event.get("rps"):
            live = f"{event['rps']:.1f} RPS, p95 {event['p95_ms']:,.0f} ms, {event['errors']:.0f} errors"
        line = f"{self._label}  {phase:<9} {live:<42} {timedelta(seconds=round(self.left_s()))} left"
        self._line.update(Text(line))
        due = phase != self._printed[0] or now_s - self._printed[1] >= PLAIN_INTERVAL_S
        if due and not self.console.is_terminal:
            self._printed = (phase, now_s)
            self.print_line(line)

    def finish(self, summary: str) -> None:
        """Counts the cell as done and leaves `summary` on the screen."""
        self._measured_s.append(time.monotonic() - self._started_s)
        self.print_line(f"{self._label}  {summary}")

    def print_line(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def left_s(self) -> float:
        """Estimated seconds of the rest of the run: each cell as long as those so far took on average."""
        cell_s = fmean(self._measured_s or [self._expected_s])
        return max(0.0, cell_s - (time.monotonic() - self._started_s)) + cell_s * self._left


def summary_table(rows: list[dict[str, Any]]) -> Table:
    """The figures of a run, one row a cell; an absent percentile is under its sample floor."""
    return rich_table(map(_summary_row, rows), "percentiles under their sample floor are not reported")


def _summary_row(row: dict[str, Any]) -> dict[str, str]:
    hit_rate = row.get("cache_hit_rate")
    return {
        "server": row["server"],
        "task": row["task"],
        "workload": f"{row['workload']} x{row['texts_per_request']}",
        "users": str(row["users"]),
        "repeat": str(row["repeat"]),
        "RPS": format_number(row.get("throughput_rps"), 1),
        "p50 ms": format_number(row.get("p50_ms"), 0),
        "p95 ms": format_number(row.get("p95_ms"), 0),
        "hits": "" if hit_rate is None else f"{hit_rate:.1%}",
        "status": ": ".join([row["status"], *filter(None, ["; ".join(row["invalid_reasons"])])]),
    }
