"""Runs made of generated requests, for charts and reports to be held against."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.runs.records import Cell, RunFiles
from benchmark.stats import figures as stats

RATES = {"baseline": 12.0, "optimized": 45.0, "dynamic_batching": 250.0, "ctranslate2": 90.0}
DURATION_S = 10.0

HOSTILE = "<script>alert('$x$')</script> & Co"
REASONS = {
    "ok": [],
    "invalid": ["the load generator's core was 96 % busy (limit 90 %)"],
    "failed": [f"server was not ready within 120 s: {HOSTILE}"],
}


def requests_of(rate: float, users: int, seed: int) -> pd.DataFrame:
    """The requests of a server that saturates at `rate` a second."""
    rng = np.random.default_rng(seed)
    ends = np.arange(-3, DURATION_S, 1 / rate) if rate else np.array([])
    latencies = users / max(rate, 1) * 1000 * rng.lognormal(0, 0.15, len(ends))
    return pd.DataFrame(
        {
            "start_s": ends - latencies / 1000,
            "latency_ms": latencies,
            "texts": 1,
            "ok": True,
            "error": None,
            "queue_ms": latencies * 0.7,
            "inference_ms": latencies * 0.3,
            "cache": None,
        }
    )


def make_run(
    folder: Path,
    servers: tuple[str, ...] = ("baseline",),
    users: tuple[int, ...] = (10, 100),
    repeats: int = 1,
    rates: dict[str, float] = RATES,
    source: str = "embedded",
    states: dict[tuple[str, int, int], str] | None = None,
) -> RunFiles:
    """A run of translation cells; `states` are those that are not ok, by server, users and repeat."""
    run = RunFiles(folder)
    artefact = {
        "task": "translation",
        "format": "pytorch",
        "architecture": "MarianMTModel, 6+6 layers, d_model 512",
        "origin": "/home/somebody/models/opus",
        "parameters": 74_000_000,
        "bytes": 298_000_000,
        "trained": source != "random",
    }
    run.write_run(
        {
            "name": folder.name,
            "started_at": "2026-01-02T03:04:05+00:00",
            "plan": {
                "servers": servers,
                "tasks": ["translation"],
                "workloads": [["unique", 1]],
                "users": users,
                "repeats": repeats,
                "duration_s": DURATION_S,
            },
            "environment": {
                "machine": {"cpu": "AMD EPYC(TM) 9B14 96-Core Processor", "note": HOSTILE},
                "cores": {"server": [0], "load": [1]},
                "commit": "abc1234",
                "dirty": False,
            },
            "models": {"source": source, "artefacts": {"translation/pytorch": artefact}},
        }
    )
    for server in servers:
        for level in users:
            for repeat in range(1, repeats + 1):
                cell = Cell(server, "translation", "unique", 1, level, repeat)
                status = (states or {}).get((server, level, repeat), "ok")
                figures = {}
                if status != "failed":
                    requests = requests_of(rates[server], level, seed=level * 10 + repeat)
                    run.cells_folder.mkdir(parents=True, exist_ok=True)
                    requests.to_csv(run.requests_path(cell), index=False)
                    read = run.read_requests(cell)
                    start = {
                        "cold_start_s": 5.0 + repeat / 10,
                        "rss_ready_bytes": 9e8,
                        "rss_peak_bytes": 1.2e9,
                    }
                    figures = stats.figures(read, DURATION_S) | start | {"load_cpu_percent": 4.0}
                    figures["batch_size_mean"] = level / 4 if server == "dynamic_batching" else None
                run.write_cell(
                    cell,
                    {
                        "status": status,
                        "invalid_reasons": REASONS[status],
                        "figures": figures,
                        "errors": {},
                        "model": artefact,
                    },
                )
    return run
