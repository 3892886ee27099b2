"""The repeats of a cell read back from a run, and the ratio of two such cells."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.runs.records import Cell, RunFiles
from benchmark.stats.intervals import Interval, Ratio, geometric_mean, interval_of_rounds, ratio_of_rounds


@dataclass(frozen=True)
class Figure:
    """A figure that is compared: its heading and its key in a cell's figures."""

    heading: str
    key: str
    higher_is_faster: bool = False


# In a closed loop RPS and latency are two sides of one thing (users = RPS x mean latency): three figures
# of a cell are not three pieces of evidence.
COMPARED = (
    Figure("RPS", "throughput_rps", higher_is_faster=True),
    Figure("p50, ms", "p50_ms"),
    Figure("p95, ms", "p95_ms"),
)


class Repeats:
    """The valid repeats of one cell; `reused` where they were measured in another run."""

    def __init__(self, records: Sequence[dict[str, Any]]) -> None:
        self.records = {record["cell"]["repeat"]: record for record in records}
        self.reused = any("from_run" in record for record in records)

    def values(self, figure: Figure) -> dict[int, float]:
        """Round -> the figure, where it is over its sample floor and not 0."""
        values = {number: record["figures"].get(figure.key) for number, record in self.records.items()}
        return {number: float(value) for number, value in values.items() if value}

    def interval(self, figure: Figure) -> Interval | None:
        return interval_of_rounds([*self.values(figure).values()])


def repeats_of(files: RunFiles) -> dict[Cell, Repeats]:
    """The valid cells of a run by what they have in common: a cell of repeat 0 stands for all repeats."""
    groups: dict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for record in files.read_cells():
        if record["status"] == "ok":
            groups[replace(Cell(**record["cell"]), repeat=0)].append(record)
    return {cell: Repeats(records) for cell, records in groups.items()}


@dataclass(frozen=True)
class Compared:
    """A figure of two cells: geometric means over the rounds that both have, and their ratio."""

    figure: Figure
    first: float
    second: float
    rounds: int
    ratio: Ratio

    def verdict(self, smallest_effect: float) -> str:
        return self.ratio.verdict(self.figure.higher_is_faster, smallest_effect)


def compare(first: Repeats, second: Repeats, figure: Figure) -> Compared | None:
    """`second` over `first` in the rounds in which both have the figure; None without any."""
    of_first, of_second = first.values(figure), second.values(figure)
    rounds = sorted(of_first.keys() & of_second.keys())
    if not rounds:
        return None
    firsts, seconds = [of_first[one] for one in rounds], [of_second[one] for one in rounds]
    ratio = ratio_of_rounds(firsts, seconds)
    return Compared(figure, geometric_mean(firsts), geometric_mean(seconds), len(rounds), ratio)
