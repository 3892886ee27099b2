"""The batch's life: what the texts of a loaded server waited for, when they were encoded, and decoded.

results/<run>/slots/<batching>.trace.jsonl   what the server wrote of each text (GAP_TRACE_PATH)
results/<run>/slots/<batching>.json          the circumstances
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.measure.processes import Load, ProcessFailed
from benchmark.measure.runner import SERVER_SETTINGS
from benchmark.measure.target import Target
from benchmark.runs.environment import environment_record
from benchmark.runs.records import write_json

FOLDER = "slots"
BATCHINGS = ("continuous", "request")
TASK = "translation"


def record_trace(target: Target, batching: str, users: int, duration_s: float, seed: int) -> dict[str, Any]:
    """Has `users` load a fresh server for `duration_s`, and keeps what it writes.

    Raises:
        ProcessFailed: the server or the load generator ended early.
    """
    target.folder.mkdir(parents=True, exist_ok=True)
    trace = trace_path(target.folder, batching)
    trace.unlink(missing_ok=True)
    settings = {"GAP_TRACE_PATH": str(trace.resolve()), "GAP_TRANSLATION_BATCHING": batching}
    with target.serving(target.folder / f"{batching}.server.log", **SERVER_SETTINGS, **settings) as server:
        arguments = ["--host", server.url, "--task", TASK, "--seed", str(seed)]
        arguments += ["--users", str(users), "--spawn-rate", str(users)]
        arguments += ["--measure-s", f"{duration_s:g}", "--warmup-s", "1"]
        load = Load(arguments, target.cores.load, target.folder / f"{batching}.load.log")
        try:
            phases = {event["phase"] for event in load.events()}
        finally:
            load.stop()
    if "end" not in phases:
        raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
    record = {
        "batching": batching,
        "users": users,
        "duration_s": duration_s,
        "seed": seed,
        "model": target.model,
        "environment": environment_record(target.cores, settings | SERVER_SETTINGS),
    }
    write_json(target.folder / f"{batching}.json", record)
    return record


def read_trace(path: Path, duration_s: float) -> pd.DataFrame:
    """One row an answered text, in the order of admission; times in seconds from the first.

    Columns: admitted_s, started_s (it left the queue), decoding_s (it was encoded; its start where that is
    not told), ended_s. Without the texts that ended in the last tenth of `duration_s`: the load is
    broken off while they run.
    """
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    joins = {line["started_s"]: line["decoding_s"] for line in lines if line["event"] == "join"}
    rows = [
        {
            "admitted_s": line["admitted_s"],
            "started_s": line["started_s"],
            "decoding_s": joins.get(line["started_s"], line["started_s"]),
            "ended_s": line["ended_s"],
        }
        for line in lines
        if line["event"] == "text" and line["task"] == TASK and line["answered"]
    ]
    texts = pd.DataFrame(rows, columns=["admitted_s", "started_s", "decoding_s", "ended_s"])
    texts = (texts - texts["admitted_s"].min()).sort_values("admitted_s", ignore_index=True)
    return texts[texts["ended_s"] <= texts["ended_s"].max() - duration_s / 10]


def trace_path(folder: Path, batching: str) -> Path:
    return folder / f"{batching}.trace.jsonl"
