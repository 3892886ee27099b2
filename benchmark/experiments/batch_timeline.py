"""The batch timeline: when each text of a loaded server was admitted, scheduled, encoded and answered.

results/<run>/batch_timeline/<batching>.trace.jsonl   what the server wrote of each text (GAP_TRACE_PATH)
results/<run>/batch_timeline/<batching>.json          the circumstances
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS
from benchmark.measure.load import LOAD_GRACE_S
from benchmark.measure.target import Target
from benchmark.runs.records import write_json

FOLDER = "batch_timeline"
BATCHINGS = ("continuous", "request")
TASK = "translation"
WARMUP_S = 1.0


def record_trace(target: Target, batching: str, users: int, duration_s: float, seed: int) -> dict[str, Any]:
    """Has `users` load a fresh server for `duration_s`, and keeps what it writes.

    Raises:
        ProcessFailed: the server or the load generator ended early.
    """
    trace = trace_path(target.folder, batching)
    trace.unlink(missing_ok=True)
    tracing = {"GAP_TRACE_PATH": str(trace.resolve()), "GAP_TRANSLATION_BATCHING": batching}
    settings = CLOSED_LOOP_SETTINGS | tracing
    window = {"measure_s": duration_s, "warmup_s": WARMUP_S}
    options = {"users": users, "spawn_rate": users, "seed": seed, **window}
    with target.serving(batching, **settings) as server:
        target.load(server, batching, options, WARMUP_S + duration_s + 2 * LOAD_GRACE_S)
    record = {"batching": batching, "users": users, "duration_s": duration_s, "seed": seed}
    record |= target.context(**settings)
    write_json(target.path(batching, "json"), record)
    return record


def read_trace(path: Path, duration_s: float) -> pd.DataFrame:
    """One row an answered text, in the order of admission; times in seconds from the first.

    Columns: admitted_s, started_s (it left the queue), decoding_s (it was encoded; its start where the
    trace does not hold that), ended_s. Without the texts that ended in the last tenth of `duration_s`:
    the load is broken off while they run.
    """
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    joins = {line["started_s"]: line["decoding_s"] for line in lines if line["event"] == "join"}
    answered = [
        line for line in lines if line["event"] == "text" and line["task"] == TASK and line["answered"]
    ]
    texts = pd.DataFrame(answered, columns=["admitted_s", "started_s", "ended_s"], dtype=float)
    texts.insert(2, "decoding_s", texts["started_s"].map(lambda started_s: joins.get(started_s, started_s)))
    texts = (texts - texts["admitted_s"].min()).sort_values("admitted_s", ignore_index=True)
    return texts[texts["ended_s"] <= texts["ended_s"].max() - duration_s / 10]


def trace_path(folder: Path, batching: str) -> Path:
    return folder / f"{batching}.trace.jsonl"
