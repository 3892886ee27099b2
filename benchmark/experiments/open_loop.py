"""A server at rates that it cannot hold back: offered and achieved, refused, and its recovery afterwards.

results/<run>/open_loop/<server>-<task>.json, .csv                 one row an offered rate
results/<run>/open_loop/<server>-<task>-<rate>rps.requests.csv.xz  one row a request
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from benchmark.experiments.closed_loop_capacity import closed_loop_rps
from benchmark.measure.processes import ProcessFailed, Server
from benchmark.measure.redis_server import clear_cache
from benchmark.measure.target import Offered, Target
from benchmark.runs.records import write_json
from benchmark.stats.formatting import format_ms
from benchmark.stats.open_loop import summary

FOLDER = "open_loop"


@dataclass(frozen=True)
class Offer:
    """What is offered to a server. `rates` are requests a second, or multiples of its measured capacity."""

    server: str
    task: str
    rates: tuple[float, ...]
    multiples: bool
    duration_s: float
    warmup_s: float
    deadline_ms: int
    recover_s: float
    capacity_users: int
    capacity_s: float
    seed: int = 0


def measure_rates(target: Target, offer: Offer, print_line: Callable[[str], None]) -> dict[str, Any]:
    """Offers each rate to a fresh server; the one of the highest rate must then answer as it did before.

    The files are written after each rate.

    Raises:
        ProcessFailed: a server or the load generator failed, or a server answered wrongly without load; the
            rates before it stay.
    """
    record = {"offer": asdict(offer), "capacity_rps": None, "rates": [], "recovery": None, **target.context()}
    rates = sorted(offer.rates)
    with target.with_cache():
        if offer.multiples:
            print_line(f"closed loop of {offer.capacity_users} users, {offer.capacity_s:g} s")
            users, seconds = offer.capacity_users, offer.capacity_s
            capacity_rps = closed_loop_rps(target, users, seconds, offer.warmup_s, offer.seed)
            print_line(f"capacity {capacity_rps:.1f} RPS")
            record["capacity_rps"] = capacity_rps
            rates = [multiple * capacity_rps for multiple in rates]
        for rate in rates:
            stem = f"{target.name}-{rate:.4g}rps"
            deadline_ms = offer.deadline_ms
            offered = Offered(rate, offer.duration_s, offer.warmup_s, deadline_ms, deadline_ms, offer.seed)
            with target.serving(stem) as server:
                before = target.check_answers(server, offer.seed)
                row = offered.figures(target.offer(server, offered, stem))
                record["rates"].append(row)
                print_line(summary(row))
                if rate == rates[-1]:
                    print_line(f"{offer.recover_s:g} s without load, then a few requests")
                    record["recovery"] = measure_recovery(target, offer, server, before)
            write_json(target.record_path, record)
            pd.DataFrame(record["rates"]).to_csv(target.path(target.name, "csv"), index=False)
    return record


def measure_recovery(
    target: Target, offer: Offer, server: Server, before: list[dict[str, Any]]
) -> dict[str, Any]:
    """Whether the server, without load for a while, answers the same as before it was loaded."""
    time.sleep(offer.recover_s)
    if target.redis_url:
        clear_cache(target.redis_url)
    after_ms = problem = None
    try:
        after = target.check_answers(server, offer.seed)
    except ProcessFailed as error:
        problem = str(error)
    else:
        after_ms = [one["latency_ms"] for one in after]
        if [one["answer"] for one in after] != [one["answer"] for one in before]:
            problem = "other answers than before the load"
        elif max(after_ms) > offer.deadline_ms:
            problem = f"an answer after {format_ms(max(after_ms))}"
    return {
        "after_s": offer.recover_s,
        "before_ms": [one["latency_ms"] for one in before],
        "after_ms": after_ms,
        "problem": problem,
        "recovered": problem is None,
    }
