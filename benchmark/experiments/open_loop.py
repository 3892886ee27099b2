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
from benchmark.stats.open_loop import figures, summary

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
    probe_users: int
    probe_s: float
    seed: int = 0


class OpenLoop:
    """Offers each rate to a fresh server; the one of the highest rate must then answer as it did before."""

    def __init__(
        self,
        offer: Offer,
        target: Target,
        print_line: Callable[[str], None],
    ) -> None:
        self.offer = offer
        self.target = target
        self.print_line = print_line

    def run(self) -> dict[str, Any]:
        """Measures every rate and writes the files after each.

        Raises:
            ProcessFailed: a server or the load generator failed, or a server answered wrongly without load;
                the rates before it stay.
        """
        offer, target = self.offer, self.target
        record: dict[str, Any] = {
            "offer": asdict(offer),
            "capacity_rps": None,
            "rates": [],
            "recovery": None,
            **target.context(),
        }
        rates = sorted(offer.rates)
        with target.with_cache():
            if offer.multiples:
                self.print_line(f"closed loop of {offer.probe_users} users, {offer.probe_s:g} s")
                capacity_rps = closed_loop_rps(
                    target, offer.probe_users, offer.probe_s, offer.warmup_s, offer.seed
                )
                self.print_line(f"capacity {capacity_rps:.1f} RPS")
                record["capacity_rps"] = capacity_rps
                rates = [multiple * capacity_rps for multiple in rates]
            for rate in rates:
                stem = f"{target.name}-{rate:.4g}rps"
                offered = Offered(
                    rate, offer.duration_s, offer.warmup_s, offer.deadline_ms, offer.deadline_ms, offer.seed
                )
                with target.serving(stem) as server:
                    before = target.check_answers(server, offer.seed)
                    requests = target.offer(server, offered, stem)
                    row = {"rate": rate} | figures(requests, offer.duration_s, offer.deadline_ms)
                    record["rates"].append(row)
                    self.print_line(summary(row))
                    if rate == rates[-1]:
                        record["recovery"] = self.recovery(server, before)
                write_json(target.record_path, record)
                pd.DataFrame(record["rates"]).to_csv(target.path(target.name, "csv"), index=False)
        return record

    def recovery(self, server: Server, before: list[dict[str, Any]]) -> dict[str, Any]:
        """Whether the server, without load for a while, answers the same as before it was loaded."""
        offer, target = self.offer, self.target
        self.print_line(f"{offer.recover_s:g} s without load, then a few requests")
        time.sleep(offer.recover_s)
        if target.redis_url:
            clear_cache(target.redis_url)
        recovery: dict[str, Any] = {
            "after_s": offer.recover_s,
            "before_ms": [one["latency_ms"] for one in before],
            "after_ms": None,
            "problem": None,
        }
        try:
            after = target.check_answers(server, offer.seed)
        except ProcessFailed as error:
            recovery["problem"] = str(error)
        else:
            recovery["after_ms"] = [one["latency_ms"] for one in after]
            slowest_ms = max(recovery["after_ms"])
            if [one["answer"] for one in after] != [one["answer"] for one in before]:
                recovery["problem"] = "other answers than before the load"
            elif slowest_ms > offer.deadline_ms:
                recovery["problem"] = f"an answer after {format_ms(slowest_ms)}"
        recovery["recovered"] = recovery["problem"] is None
        return recovery
