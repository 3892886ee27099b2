"""A run as the charts see it: slices of cells that may share a chart, and their medians.

Only valid cells make a median. Invalid, failed and too small cells stay in the tables, to be drawn
or named in the caption.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark.charts.sheet import Sheet
from benchmark.charts.titles import Medians
from benchmark.runs.records import SERVERS, TASKS, WORKLOADS, Cell, RunFiles
from benchmark.stats import figures as stats

FIGURES = [
    *("duration_s", "requests", "failures", "texts", "throughput_rps", "texts_per_s", "p50_ms", "p95_ms"),
    *("p99_ms", "mean_ms", "max_ms", "queue_p50_ms", "inference_p50_ms", "cold_start_s", "cache_hit_rate"),
    *("rss_ready_bytes", "rss_peak_bytes", "server_cpu_percent", "load_cpu_percent", "batch_size_mean"),
]
QUANTILES = {f"p{percentile}_ms": percentile / 100 for percentile in stats.PERCENTILES}


@dataclass(frozen=True)
class Slice:
    """Cells that may share a chart: cached and uncached, single and batched, are never mixed."""

    task: str
    workload: str
    texts_per_request: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.workload}-x{self.texts_per_request}"

    @property
    def headline(self) -> bool:
        return self.workload == "unique" and self.texts_per_request == 1


@dataclass(frozen=True)
class Drawing:
    """A chart to be: its file's stem, the slice it belongs to (None: the whole run), and how to draw it."""

    name: str
    part: Slice | None
    draw: Callable[[], Sheet]


@dataclass
class Cells:
    """Some cells of a run: one row a cell in `frame`, absent figures NaN."""

    files: RunFiles
    frame: pd.DataFrame

    @property
    def servers(self) -> list[str]:
        return in_order(self.frame["server"], SERVERS)

    @property
    def levels(self) -> list[int]:
        return sorted(int(level) for level in self.frame["users"].unique())

    @property
    def repeats(self) -> int:
        return int(self.frame["repeat"].nunique())

    def where(self, **values: Any) -> "Cells":
        """The cells whose columns have these values."""
        keep = (self.frame[[*values]] == pd.Series(values)).all(axis=1)
        return Cells(self.files, self.frame[keep])

    def with_figure(self, metric: str) -> "Cells":
        """The cells that have this figure."""
        return Cells(self.files, self.frame.dropna(subset=[metric]))

    def medians(self, metric: str) -> Medians:
        """Server -> users -> the median of `metric` over valid repeats; no valid repeat, no entry."""
        valid = self.where(status="ok").with_figure(metric)
        medians = valid.frame.groupby(["server", "users"])[metric].median()
        return {server: medians[server].to_dict() for server in valid.servers}

    def has_requests(self) -> bool:
        """Whether the run's folder has the raw requests of any of the cells; they are not in git."""
        return any(self.files.requests_path(cell).is_file() for cell in self.frame["cell"])

    def requests(self, row: pd.Series) -> pd.DataFrame:
        """All the requests of the cell in `row`, with `end_s`; empty where no file was written."""
        if not self.files.requests_path(row["cell"]).is_file():
            empty = pd.DataFrame({"start_s": [], "latency_ms": [], "end_s": []}, dtype="float64")
            return empty.assign(ok=pd.Series([], dtype=bool))
        requests = self.files.read_requests(row["cell"])
        return requests.assign(end_s=requests["start_s"] + requests["latency_ms"] / 1000)

    def answers(self, row: pd.Series) -> pd.DataFrame:
        """The requests of the cell in `row` that were answered well within its measured window."""
        requests = self.requests(row)
        return stats.in_window(requests[requests["ok"]], row["duration_s"])

    def latencies(self) -> list[np.ndarray]:
        """The latencies in ms of each cell that has answers."""
        answers = (self.answers(row) for _, row in self.frame.iterrows())
        return [one["latency_ms"].to_numpy(dtype=float) for one in answers if len(one)]

    def marks(self, metric: str) -> pd.DataFrame:
        """The cells that a chart can show, with the figure as `value`.

        A percentile under its sample floor (`thin`) is estimated: good for a hollow mark, never for print.
        """
        frame = self.frame[self.frame["status"] != "failed"]
        frame = frame.assign(value=frame[metric], thin=frame[metric].isna())
        if metric in QUANTILES:
            for index, row in frame[frame["thin"]].iterrows():
                frame.loc[index, "value"] = self.answers(row)["latency_ms"].quantile(QUANTILES[metric])
        return frame.dropna(subset=["value"])


class RunData(Cells):
    """A whole run: its plan and environment, and every cell."""

    def __init__(self, files: RunFiles) -> None:
        self.run = files.read_run()
        self.records = {Cell(**record["cell"]).name: record for record in files.read_cells()}
        rows = [
            record | record["cell"] | {"cell": Cell(**record["cell"])} | (record.get("figures") or {})
            for record in self.records.values()
        ]
        keys = ["cell", *(field.name for field in fields(Cell)), "status", "invalid_reasons"]
        frame = pd.DataFrame(rows, columns=[*keys, *FIGURES])
        super().__init__(files, frame.astype(dict.fromkeys(FIGURES, float)))

    @cached_property
    def slices(self) -> list[Slice]:
        """The slices that have cells, headlines first."""
        columns = self.frame[["task", "workload", "texts_per_request"]].drop_duplicates()
        return sorted(
            (Slice(task, workload, int(texts)) for task, workload, texts in columns.to_numpy()),
            key=lambda part: (
                not part.headline,
                rank(part.task, TASKS),
                rank(part.workload, WORKLOADS),
                part.texts_per_request,
            ),
        )

    def of(self, part: Slice) -> Cells:
        """The cells of `part`."""
        return self.where(task=part.task, workload=part.workload, texts_per_request=part.texts_per_request)

    def records_of(self, cells: Cells) -> list[dict[str, Any]]:
        """The records that the rows of `cells` came from."""
        return [self.records[cell.name] for cell in cells.frame["cell"]]


def rank(name: str, known: Sequence[str]) -> tuple[int, str]:
    """Sorts the `known` names first, in their order."""
    return (known.index(name) if name in known else len(known)), name


def in_order(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """The distinct `names`, the `known` ones first in their order, the others by name."""
    return sorted(set(names), key=lambda name: rank(name, known))


def by_server(values: dict[str, Any]) -> dict[str, Any]:
    """The same in the servers' usual order."""
    return {server: values[server] for server in in_order(values, SERVERS)}
