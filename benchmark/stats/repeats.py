"""The repeats of a cell read back from a run, and the ratio of two such cells."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.measure.machine_speed import log_speeds, within
from benchmark.runs.records import Cell, RunFiles
from benchmark.stats.blocks import Estimate, percentile_estimate, rate_estimate
from benchmark.stats.elasticity import Elasticity, block_logs, correction
from benchmark.stats.figures import in_window
from benchmark.stats.intervals import (
    DRIFT,
    NO_CORRECTION,
    ROUNDS_FOR_RANGE,
    Interval,
    Ratio,
    of_blocks,
    of_rounds,
    ratio_of_blocks,
    ratio_of_rounds,
)


@dataclass(frozen=True)
class Figure:
    """A figure that is compared: its heading, its key in a cell's figures, its percentile if it is one."""

    heading: str
    key: str
    percentile: int | None = None

    @property
    def higher_is_faster(self) -> bool:
        return self.percentile is None


# In a closed loop RPS and latency are two sides of one thing (users = RPS x mean latency): three figures
# of a cell are not three pieces of evidence.
COMPARED = (Figure("RPS", "throughput_rps"), Figure("p50, ms", "p50_ms", 50), Figure("p95, ms", "p95_ms", 95))


class Repeats:
    """The valid repeats of one cell; `borrowed` where they were measured in another run."""

    def __init__(self, files: RunFiles, records: Sequence[dict[str, Any]]) -> None:
        self.files = files
        self.records = {record["cell"]["repeat"]: record for record in records}
        self.borrowed = any("from_run" in record for record in records)
        self._known: dict[tuple[Figure, int], Estimate | None] = {}

    def values(self, figure: Figure) -> dict[int, float]:
        """Round -> the figure, where it is over its sample floor and not 0."""
        found = {number: record["figures"].get(figure.key) for number, record in self.records.items()}
        return {number: float(value) for number, value in found.items() if value}

    def estimates(self, figure: Figure, rounds: Sequence[int]) -> list[Estimate] | None:
        """The figure of each round with its error from within the cell; None where requests are missing."""
        for number in rounds:
            if (figure, number) not in self._known:
                self._known[figure, number] = self._estimate(figure, number)
        found = [self._known[figure, number] for number in rounds]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None

    def missing_requests(self) -> list[Path]:
        """The files of requests that the rounds should have and lack."""
        paths = [self.files.requests_path(Cell(**record["cell"])) for record in self.records.values()]
        return [path for path in paths if not path.is_file()]

    def interval(self, figure: Figure) -> Interval | None:
        """The figure's interval by the method that its number of repeats allows."""
        values = self.values(figure)
        if len(values) >= ROUNDS_FOR_RANGE:
            return of_rounds([*values.values()])
        estimates = self.estimates(figure, [*values])
        return of_blocks(estimates) if estimates else None

    def log_speed(self, number: int) -> float | None:
        """The mean log speed of the machine in the window of a round; None where nobody probed it."""
        _, speeds = self._probed.get(number, (np.array([]), np.array([])))
        return float(speeds.mean()) if len(speeds) else None

    def block_logs(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Log answers and log speeds of the blocks of a round's window."""
        if number not in self._probed:
            return np.array([]), np.array([])
        probed_s, speeds = self._probed[number]
        answered_s, _ = self._answered.get(number, (np.array([]), np.array([])))
        return block_logs(answered_s, probed_s, speeds, self.records[number]["figures"]["duration_s"])

    def _estimate(self, figure: Figure, number: int) -> Estimate | None:
        answered_s, latencies_ms = self._answered.get(number, (np.array([]), np.array([])))
        if len(answered_s) == 0:
            return None
        if figure.percentile is None:
            return rate_estimate(answered_s, self.records[number]["figures"]["duration_s"])
        return percentile_estimate(latencies_ms, figure.percentile)

    @cached_property
    def _probed(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Round -> moments in s and log speeds of the probes within the window."""
        found = {}
        for number, record in self.records.items():
            path = self.files.speed_path(Cell(**record["cell"]))
            if path.is_file():
                rows = within(pd.read_csv(path), record["figures"]["duration_s"])
                found[number] = rows["time_s"].to_numpy(dtype=float), log_speeds(rows)
        return found

    @cached_property
    def _answered(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Round -> moments in s and latencies in ms of the answers within the window, in their order."""
        found = {}
        for number, record in self.records.items():
            cell = Cell(**record["cell"])
            if self.files.requests_path(cell).is_file():
                requests = self.files.read_requests(cell)
                measured = in_window(requests[requests["ok"]], record["figures"]["duration_s"])
                latencies_ms = measured["latency_ms"].to_numpy(dtype=float)
                answered_s = measured["start_s"].to_numpy(dtype=float) + latencies_ms / 1e3
                order = np.argsort(answered_s, kind="stable")
                found[number] = answered_s[order], latencies_ms[order]
        return found


def repeats_of(files: RunFiles) -> dict[Cell, Repeats]:
    """The valid cells of a run by what they have in common: a cell of repeat 0 stands for all repeats."""
    groups: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for record in files.read_cells():
        if record["status"] == "ok":
            groups[replace(Cell(**record["cell"]), repeat=0)].append(record)
    return {cell: Repeats(files, records) for cell, records in groups.items()}


@dataclass(frozen=True)
class Compared:
    """A figure of two cells: geometric means over the rounds that both have, and their ratio.

    `speed_ratio` is that of the machine's speed, where the ratio is of figures at the same speed.
    """

    figure: Figure
    first: float
    second: float
    rounds: int
    ratio: Ratio
    speed_ratio: float | None = None

    def verdict(self, smallest_effect: float) -> str:
        return self.ratio.verdict(self.figure.higher_is_faster, smallest_effect)


def compare(
    first: Repeats,
    second: Repeats,
    figure: Figure,
    interleaved: bool,
    drift: float = DRIFT,
    follows: Elasticity | None = None,
) -> Compared | None:
    """`second` held against `first` over the rounds in which both have the figure; None without any.

    `interleaved`: both were measured in one run, whose rounds go over all servers. With fewer than
    ROUNDS_FOR_RANGE rounds not even that shows how much restarts differ, so `drift` counts all the same.
    `follows` is how the server's speed follows the machine's: with it, and a machine that was probed in all
    rounds, the ratio is of figures at the same speed of the machine.
    """
    of_first, of_second = first.values(figure), second.values(figure)
    rounds = sorted(of_first.keys() & of_second.keys())
    if not rounds:
        return None
    firsts, seconds = [of_first[one] for one in rounds], [of_second[one] for one in rounds]
    found, speed_ratio = NO_CORRECTION, None
    if follows and (shifts := speed_shifts(first, second, rounds)):
        found = correction(shifts, follows, figure.higher_is_faster)
        speed_ratio = float(np.exp(np.mean(shifts)))
    if len(rounds) >= ROUNDS_FOR_RANGE:
        ratio = ratio_of_rounds(firsts, seconds, 0 if interleaved else drift, found)
    else:
        within_first, within_second = first.estimates(figure, rounds), second.estimates(figure, rounds)
        if not within_first or not within_second:
            return None
        ratio = ratio_of_blocks(within_first, within_second, drift, found)
    return Compared(figure, geometric_mean(firsts), geometric_mean(seconds), len(rounds), ratio, speed_ratio)


def speed_shifts(first: Repeats, second: Repeats, rounds: Sequence[int]) -> list[float] | None:
    """How much higher the machine's log speed was in `second`, a round each; None unless all were probed."""
    found = []
    for number in rounds:
        one, other = first.log_speed(number), second.log_speed(number)
        if one is None or other is None:
            return None
        found.append(other - one)
    return found


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.log(values).mean()))
