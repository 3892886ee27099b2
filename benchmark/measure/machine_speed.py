"""How fast the server's cores were while a cell was measured: the probe's process, its file, its index."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.measure.processes import Child
from benchmark.runs.records import Cell

PROBES = ("interpreter_ms", "product_ms", "memory_ms")
COLUMNS = ("time_s", *PROBES)


class SpeedProbe:
    """A `benchmark.measure.speed_probe` on the server's cores, from `start` to `stop`."""

    def __init__(self, cores: tuple[int, ...], log_path: Path) -> None:
        self._child = Child([sys.executable, "-m", "benchmark.measure.speed_probe"], cores, log_path, {})

    def stop(self) -> None:
        self._child.stop()

    def write(self, path: Path, zero_s: float) -> pd.DataFrame:
        """The rows as CSV, `time_s` counted from `zero_s` (time.perf_counter); call it once it is stopped."""
        # The last row may have been cut off.
        text = self._child.log_path.read_text()
        rows = [line.split(",") for line in text[: text.rfind("\n") + 1].splitlines()]
        whole = [row for row in rows if len(row) == len(COLUMNS)]
        table = pd.DataFrame(np.array(whole, dtype=float).reshape(-1, len(COLUMNS)), columns=list(COLUMNS))
        table["time_s"] = (table["time_s"] - zero_s).round(3)
        table.to_csv(path, index=False)
        self._child.log_path.unlink()
        return table


def log_speeds(table: pd.DataFrame) -> np.ndarray:
    """The natural logarithm of each row's index of speed: the geometric mean of what the probes did in a ms.

    float64 `[rows]`. The index has no unit: only the ratio of two means anything.
    """
    return -np.log(table[list(PROBES)].to_numpy(dtype=float)).mean(axis=1)


def within(table: pd.DataFrame, duration_s: float) -> pd.DataFrame:
    """The rows of the measured window."""
    return table[(table["time_s"] >= 0) & (table["time_s"] < duration_s)]


def speed_record(table: pd.DataFrame, duration_s: float) -> dict[str, Any] | None:
    """The medians of the measured window, in ms: how long each piece of work took; None without a row."""
    rows = within(table, duration_s)
    return {name: float(rows[name].median()) for name in PROBES} if len(rows) else None


def relative_speeds(records: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Cell -> the machine's speed as it was measured, over that of the run's middle cell; none unprobed."""
    speeds = {
        Cell(**record["cell"]).name: float(np.exp(-np.log([*record["machine_speed"].values()]).mean()))
        for record in records
        if record.get("machine_speed")
    }
    middle = float(np.median([*speeds.values()])) if speeds else 1.0
    return {name: speed / middle for name, speed in speeds.items()}
