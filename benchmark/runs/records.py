"""The files of a run: where each lies, what it holds, and how it is read back.

results/<run>/run.json                       plan, environment, model manifest
results/<run>/cells/<cell>.json              one cell: its figures, validity, environment
results/<run>/cells/<cell>.requests.csv.xz   one row a request of the whole cell
results/<run>/cells/<cell>.samples.csv       one row a sampling interval: CPU, memory, open files
results/<run>/load_generator_limit.json      what the load generator reaches at each level
results/<run>/charts/, report.html           drawn from the files above, never from memory
"""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from benchmark.runs.errors import BenchmarkError

ServerName = Literal["baseline", "optimized", "dynamic_batching"]
TaskName = Literal["translation", "sentiment"]
WorkloadName = Literal["unique", "zipf", "paragraph"]
SERVERS: tuple[str, ...] = get_args(ServerName)
TASKS: tuple[str, ...] = get_args(TaskName)
WORKLOADS: tuple[str, ...] = get_args(WorkloadName)

REQUEST_COLUMNS = {
    "start_s": "float64",  # since the window opened; negative: before it
    "latency_ms": "float64",
    "texts": "int64",
    "ok": "bool",
    "error": "string",
    "queue_ms": "float64",  # from Server-Timing; empty where the server sent none
    "inference_ms": "float64",
    "cache": "string",  # hit, miss, coalesced, or empty
}
SAMPLE_COLUMNS = (
    "time_s",
    "server_cpu_percent",
    "server_rss_bytes",
    "load_cpu_percent",
    "server_open_files",
    "server_threads",
)


@dataclass(frozen=True, order=True)
class Cell:
    """One point of the plan: a server doing a task for some users, once."""

    server: str
    task: str
    workload: str
    texts_per_request: int
    users: int
    repeat: int

    @property
    def name(self) -> str:
        level = f"x{self.texts_per_request}-u{self.users}-r{self.repeat}"
        return f"{self.server}-{self.task}-{self.workload}-{level}"


class RunNotFound(BenchmarkError):
    """There is no run to read at the place named."""


class RunFiles:
    """Reads and writes one run's folder; a JSON file is whole or absent, never half written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells_folder = folder / "cells"

    @classmethod
    def latest(cls, results: Path) -> "RunFiles":
        """The run in `results` that started last; RunNotFound where there is none."""
        runs = [cls(path.parent) for path in results.glob("*/run.json")]
        if not runs:
            raise RunNotFound(f"no run under {results}: `make bench` makes one")
        return max(runs, key=lambda run: run.read_run()["started_at"])

    @classmethod
    def open(cls, folder: Path) -> "RunFiles":
        """The run in `folder`; RunNotFound where its run.json is missing."""
        if not (folder / "run.json").is_file():
            raise RunNotFound(f"{folder} holds no run.json, so it is not a run")
        return cls(folder)

    @staticmethod
    def check_writable(folder: Path) -> None:
        """OSError where no file can be made in `folder`: better now than after the first cell."""
        with tempfile.TemporaryFile(dir=folder):
            pass

    def write_run(self, run: dict[str, Any]) -> None:
        write_json(self.folder / "run.json", run)

    def read_run(self) -> dict[str, Any]:
        return read_json(self.folder / "run.json")

    def write_cell(self, cell: Cell, record: dict[str, Any]) -> None:
        write_json(self.cells_folder / f"{cell.name}.json", {"cell": asdict(cell), **record})

    def read_cells(self) -> list[dict[str, Any]]:
        """Every cell record of the run, in the order of their cells."""
        records = map(read_json, self.cells_folder.glob("*.json"))
        return sorted(records, key=lambda record: Cell(**record["cell"]))

    def has(self, cell: Cell) -> bool:
        return (self.cells_folder / f"{cell.name}.json").is_file()

    def requests_path(self, cell: Cell) -> Path:
        return self.cells_folder / f"{cell.name}.requests.csv.xz"

    def read_requests(self, cell: Cell) -> pd.DataFrame:
        """One row a request, typed as REQUEST_COLUMNS says."""
        return pd.read_csv(self.requests_path(cell), dtype=REQUEST_COLUMNS)


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        unfinished.write_text(json.dumps(content, indent=2) + "\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
