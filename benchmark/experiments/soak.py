"""A soak: many requests in a row on one server, whose memory and open files must stay as they are.

results/<run>/soak/<server>-<task>.json              what grew, and what was left behind
results/<run>/soak/<server>-<task>.samples.csv       one row a sample
results/<run>/soak/<server>-<task>.requests.csv.xz   one row a request
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS
from benchmark.measure.load import Event
from benchmark.measure.process_sampler import ProcessUsage
from benchmark.measure.processes import ProcessFailed, Server
from benchmark.measure.server_metrics import ServerMetrics
from benchmark.measure.target import Target
from benchmark.runs.records import write_json

FOLDER = "soak"
REPORT_EVERY_S = 10.0
SETTLE_S = 2.0
STALLED_S = 120.0


def soak(
    target: Target, requests: int, users: int, seed: int, print_line: Callable[[str], None]
) -> dict[str, Any]:
    """Loads one server with a closed loop of `users` until it has answered so many `requests`.

    Raises:
        ProcessFailed: the server or the load generator ended, or no request was answered any more.
    """
    with target.with_cache(), target.serving(target.name, **CLOSED_LOOP_SETTINGS) as server:
        options = {"users": users, "spawn_rate": users, "seed": seed, "answers": requests}
        samples = load_and_sample(target, server, options, print_line)
        time.sleep(SETTLE_S)
        metrics = ServerMetrics.read(server.url)
    sent = target.read_requests(target.name)
    answered_s = np.sort(sent["start_s"] + sent["latency_ms"] / 1e3)
    samples["answered"] = np.searchsorted(answered_s, samples["time_s"], side="right")
    samples.to_csv(target.path(target.name, "samples.csv"), index=False)
    figures = growth(samples, requests) | {
        "requests": len(sent),
        "wrong": int((~sent["ok"]).sum()),
        "occupied_slots_after": metrics.sum("gap_occupied_slots"),
        "pending_after": metrics.sum("gap_pending"),
    }
    plan = {"server": target.server, "task": target.task, "requests": requests, "users": users, "seed": seed}
    record = {"plan": plan, "figures": figures, **target.context(**CLOSED_LOOP_SETTINGS)}
    write_json(target.record_path, record)
    return record


def load_and_sample(
    target: Target, server: Server, options: dict[str, int], print_line: Callable[[str], None]
) -> pd.DataFrame:
    """The samples of both processes until all requests are answered, `time_s` since the load began."""
    began_s, printed_s = 0.0, 0.0
    answered, advanced_s = -1, 0.0

    def watch(event: Event) -> None:
        nonlocal began_s, printed_s, answered, advanced_s
        now_s = time.perf_counter()
        began_s = event.get("at_s", began_s)
        if event["answered"] > answered:
            answered, advanced_s = event["answered"], now_s
        elif now_s - advanced_s > STALLED_S:
            raise ProcessFailed(f"{target.server} answered nothing for {STALLED_S:g} s")
        if now_s - printed_s >= REPORT_EVERY_S:
            printed_s = now_s
            print_line(f"{answered:,} of {options['answers']:,} answered")

    sampler = target.load(server, target.name, options, on_event=watch)
    # The last state counts too: a short soak may end between two samples.
    usage = asdict(ProcessUsage.of(psutil.Process(server.pid)))
    last = {"time_s": time.perf_counter() - began_s} | {f"server_{name}": usage[name] for name in usage}
    return pd.concat([sampler.table(began_s), pd.DataFrame([last])], ignore_index=True)


def growth(samples: pd.DataFrame, requests: int) -> dict[str, Any]:
    """What grew after the first tenth of `requests`: the most there ever was later, over what there was then.

    The largest rather than the last: a server that swells and shrinks again has not stayed flat.
    """
    later = samples[samples["answered"] >= requests / 10]
    rss, files = later["server_rss_bytes"], later["server_open_files"]
    return {
        "answered": int(samples["answered"].iloc[-1]),
        "duration_s": float(samples["time_s"].iloc[-1]),
        "rss_first_tenth_bytes": int(rss.iloc[0]),
        "rss_last_bytes": int(rss.iloc[-1]),
        "rss_peak_bytes": int(rss.max()),
        "rss_growth": float(rss.max() / rss.iloc[0] - 1),
        "open_files_first_tenth": int(files.iloc[0]),
        "open_files_peak": int(files.max()),
    }


def summary(figures: dict[str, Any]) -> str:
    before_mb, peak_mb = (figures[key] / 1e6 for key in ("rss_first_tenth_bytes", "rss_peak_bytes"))
    return (
        f"{figures['answered']:,} answers in {figures['duration_s']:.0f} s, {figures['wrong']} wrong; "
        f"memory {before_mb:.1f} MB after a tenth, peak {peak_mb:.1f} MB ({figures['rss_growth']:+.1%}); "
        f"open files {figures['open_files_first_tenth']} after a tenth, peak {figures['open_files_peak']}"
    )
