"""What a server does at rates it is not asked for in a closed loop: offered and achieved, refused, recovered.

results/<run>/open_loop/<server>-<task>.json, .csv                 one row an offered rate
results/<run>/open_loop/<server>-<task>-<rate>rps.requests.csv.xz  one row a request
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.experiments.closed_loop_capacity import closed_loop_rps
from benchmark.measure.processes import ProcessFailed, Server
from benchmark.measure.redis_server import clear_cache
from benchmark.measure.target import Offered, Target
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import write_json
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
    probe_users: int
    probe_s: float
    seed: int = 0


class OpenLoop:
    """Offers each rate to a fresh server; the one of the highest rate must then answer as it did before."""

    def __init__(
        self,
        offer: Offer,
        folder: Path,
        models_dir: Path,
        manifest: dict[str, Any],
        cores: Cores,
        say: Callable[[str], None],
    ) -> None:
        """Raises ProcessFailed where the models lack what the server needs."""
        self.offer = offer
        self.folder = folder / FOLDER
        self.say = say
        self.target = Target(offer.server, offer.task, self.folder, models_dir, manifest, cores)
        self.name = self.target.name

    def run(self) -> dict[str, Any]:
        """Measures every rate and writes the files after each.

        Raises:
            ProcessFailed: a server or the load generator failed, or a server answered wrongly unloaded;
                the rates before it stay.
        """
        offer, target = self.offer, self.target
        self.folder.mkdir(parents=True, exist_ok=True)
        record: dict[str, Any] = {
            "offer": asdict(offer),
            "capacity_rps": None,
            "rates": [],
            "recovery": None,
            "model": target.model,
            "environment": environment_record(target.cores, {}),
        }
        rates = sorted(offer.rates)
        if offer.multiples:
            probe = (offer.probe_users, offer.probe_s, offer.warmup_s, offer.seed)
            record["capacity_rps"] = capacity = closed_loop_rps(target, *probe)
            self.say(f"capacity {capacity:.1f} RPS in a closed loop of {offer.probe_users} users")
            rates = [multiple * capacity for multiple in rates]
        with target.with_cache():
            for rate in rates:
                stem = f"{self.name}-{rate:.4g}rps"
                with target.serving(self.folder / f"{stem}.server.log") as server:
                    before = target.ask(server, offer.seed)
                    offered = Offered(
                        rate,
                        offer.duration_s,
                        offer.warmup_s,
                        offer.deadline_ms,
                        offer.deadline_ms,
                        offer.seed,
                    )
                    found = target.offer(server, offered, stem)
                    record["rates"].append(found)
                    self.say(summary(found))
                    if rate == rates[-1]:
                        record["recovery"] = self.recovery(server, before)
                self.write(record)
        return record

    def recovery(self, server: Server, before: list[dict[str, Any]]) -> dict[str, Any]:
        """Whether the server, left alone for a while, answers the same as before it was loaded."""
        offer, target = self.offer, self.target
        self.say(f"{offer.recover_s:g} s without load, then a few requests")
        time.sleep(offer.recover_s)
        if target.redis_url:
            clear_cache(target.redis_url)
        found: dict[str, Any] = {
            "after_s": offer.recover_s,
            "before_ms": [one["latency_ms"] for one in before],
            "after_ms": None,
            "problem": None,
        }
        try:
            after = target.ask(server, offer.seed)
        except ProcessFailed as error:
            found["problem"] = str(error)
        else:
            found["after_ms"] = [one["latency_ms"] for one in after]
            if [one["answer"] for one in after] != [one["answer"] for one in before]:
                found["problem"] = "other answers than before the load"
            elif max(found["after_ms"]) > offer.deadline_ms:
                found["problem"] = f"an answer after {max(found['after_ms']):,.0f} ms"
        found["recovered"] = found["problem"] is None
        return found

    def write(self, record: dict[str, Any]) -> None:
        write_json(self.folder / f"{self.name}.json", record)
        pd.DataFrame(record["rates"]).to_csv(self.folder / f"{self.name}.csv", index=False)
