"""What a server does at rates it is not asked for in a closed loop: offered and achieved, refused, recovered.

results/<run>/open_loop/<server>-<task>.json, .csv                 one row an offered rate
results/<run>/open_loop/<server>-<task>-<rate>rps.requests.csv.gz  one row a request
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from benchmark.configurations import CACHED_SERVERS, MODEL_FORMATS
from benchmark.environment import environment_record
from benchmark.load import LOAD_GRACE_S
from benchmark.open_loop_figures import COLUMNS, figures, summary
from benchmark.plan import Cores, Plan
from benchmark.processes import Load, ProcessFailed, Server, free_port
from benchmark.records import RunFiles, write_json
from benchmark.redis_server import clear_cache, redis_url
from benchmark.runner import READY_TIMEOUT_S, Runner
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import Sample, unique

RECOVERY_REQUESTS = 5


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
        self.offer = offer
        self.folder = folder / "open_loop"
        self.models_dir = models_dir.resolve()
        self.manifest = manifest
        self.cores = cores
        self.say = say
        self.name = f"{offer.server}-{offer.task}"
        artefact = f"{offer.task}/{MODEL_FORMATS[offer.server]}"
        if artefact not in manifest["artefacts"]:
            raise ProcessFailed(f"{models_dir} holds no {artefact}; `python optimize_model.py` prepares it")
        self.artefact = manifest["artefacts"][artefact]
        self.redis_url = ""

    def run(self) -> dict[str, Any]:
        """Measures every rate and writes the files after each.

        Raises:
            ProcessFailed: a server or the load generator failed, or a server answered wrongly unloaded;
                the rates before it stay.
        """
        offer = self.offer
        self.folder.mkdir(parents=True, exist_ok=True)
        record: dict[str, Any] = {
            "offer": asdict(offer),
            "capacity_rps": None,
            "rates": [],
            "recovery": None,
            "model": {key: value for key, value in self.artefact.items() if key != "files"},
            "environment": environment_record(self.cores, {}),
        }
        rates = sorted(offer.rates)
        if offer.multiples:
            record["capacity_rps"] = capacity = self.capacity_rps()
            self.say(f"capacity {capacity:.1f} RPS in a closed loop of {offer.probe_users} users")
            rates = [multiple * capacity for multiple in rates]
        with contextlib.ExitStack() as stack:
            if offer.server in CACHED_SERVERS:
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            for rate in rates:
                with self.serving(rate) as server:
                    before = self.ask(server)
                    found = self.load(server, rate)
                    record["rates"].append(found)
                    self.say(summary(found))
                    if rate == rates[-1]:
                        record["recovery"] = self.recovery(server, before)
                self.write(record)
        return record

    def capacity_rps(self) -> float:
        """Requests a second of a closed loop.

        Raises:
            ProcessFailed: the closed loop was not valid; a multiple of its figure would mean nothing.
        """
        offer = self.offer
        plan = Plan(
            servers=(offer.server,),
            tasks=(offer.task,),
            workloads=(("unique", 1),),
            users=(offer.probe_users,),
            repeats=1,
            duration_s=offer.probe_s,
            warmup_s=offer.warmup_s,
            settle_s=LOAD_GRACE_S,
            seed=offer.seed,
        )
        files = RunFiles(self.folder / f"{self.name}-probe")
        (cell,) = plan.cells()
        (files.cells_folder / f"{cell.name}.json").unlink(missing_ok=True)
        Runner(plan, files, self.models_dir, self.manifest, self.cores, port=0).run()
        (record,) = files.read_cells()
        capacity_rps: float = record["figures"]["throughput_rps"]
        if capacity_rps == 0 or record["errors"]:
            raise ProcessFailed(f"no capacity was measured: {'; '.join(record['invalid_reasons'])}")
        return capacity_rps

    @contextlib.contextmanager
    def serving(self, rate: float) -> Iterator[Server]:
        """A ready server with an empty cache, as its defaults have it."""
        settings = {"GAP_MODELS_DIR": str(self.models_dir)}
        if self.redis_url:
            clear_cache(self.redis_url)
            settings["REDIS_URL"] = self.redis_url
        log = self.path(rate, "server.log")
        server = Server(self.offer.server, free_port(), self.cores.server, log, settings)
        try:
            server.wait_ready(READY_TIMEOUT_S)
            yield server
        finally:
            server.stop()

    def load(self, server: Server, rate: float) -> dict[str, Any]:
        """Offers `rate` requests a second; the figures of those scheduled within the window."""
        offer = self.offer
        drain_s = offer.deadline_ms / 1e3 + 5
        path = self.path(rate, "requests.csv.gz")
        arguments = ["--host", server.url, "--task", offer.task, "--rate", f"{rate:.9g}"]
        arguments += ["--seed", str(offer.seed), "--timeout-ms", str(offer.deadline_ms)]
        arguments += ["--measure-s", f"{offer.duration_s:g}", "--warmup-s", f"{offer.warmup_s:g}"]
        arguments += ["--drain-s", f"{drain_s:g}", "--requests-file", str(path.resolve())]
        if self.artefact["trained"]:
            arguments.append("--check-labels")
        load = Load(arguments, self.cores.load, self.path(rate, "load.log"), "open_loop.py")
        limit_s = offer.warmup_s + offer.duration_s + drain_s + LOAD_GRACE_S
        watchdog = threading.Timer(limit_s, load.process.kill)
        watchdog.daemon = True
        watchdog.start()
        ended = False
        try:
            for event in load.events():
                if server.process.poll() is not None:
                    raise ProcessFailed(f"{offer.server} ended in mid-run: {server.last_line()}")
                ended = ended or event["phase"] == "end"
            load.process.wait()
        finally:
            watchdog.cancel()
            load.stop()
        if not ended:
            raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
        requests = pd.read_csv(path, dtype=COLUMNS)
        return {"rate": rate} | figures(requests, offer.duration_s, offer.deadline_ms)

    def ask(self, server: Server) -> list[dict[str, Any]]:
        """A few texts one by one: each answer, less its score, and its latency in ms.

        Raises:
            ProcessFailed: an answer is wrong, or none comes.
        """
        return [
            self.ask_one(server, sample)
            for sample in islice(unique(self.offer.task, self.offer.seed, "warmup"), RECOVERY_REQUESTS)
        ]

    def ask_one(self, server: Server, sample: Sample) -> dict[str, Any]:
        started_s = time.perf_counter()
        try:
            answer = httpx.post(
                server.url + route(self.offer.task, batch=False),
                content=request_body([sample], batch=False),
                headers={"Content-Type": "application/json"},
                timeout=READY_TIMEOUT_S,
            )
        except httpx.TransportError as error:
            raise ProcessFailed(f"{self.offer.server} does not answer: {error!r}") from None
        latency_ms = (time.perf_counter() - started_s) * 1e3
        check_labels = self.artefact["trained"]
        wrong = problem(
            self.offer.task,
            answer.status_code,
            answer.content,
            [sample],
            batch=False,
            check_labels=check_labels,
        )
        if wrong:
            raise ProcessFailed(
                f"{self.offer.server} answers {self.offer.task} wrongly without load: {wrong}"
            )
        told = {key: value for key, value in answer.json().items() if key != "score"}
        return {"answer": told, "latency_ms": latency_ms}

    def recovery(self, server: Server, before: list[dict[str, Any]]) -> dict[str, Any]:
        """Whether the server, left alone for a while, answers the same as before it was loaded."""
        self.say(f"{self.offer.recover_s:g} s without load, then a few requests")
        time.sleep(self.offer.recover_s)
        if self.redis_url:
            clear_cache(self.redis_url)
        found: dict[str, Any] = {
            "after_s": self.offer.recover_s,
            "before_ms": [one["latency_ms"] for one in before],
            "after_ms": None,
            "problem": None,
        }
        try:
            after = self.ask(server)
        except ProcessFailed as error:
            found["problem"] = str(error)
        else:
            found["after_ms"] = [one["latency_ms"] for one in after]
            if [one["answer"] for one in after] != [one["answer"] for one in before]:
                found["problem"] = "other answers than before the load"
            elif max(found["after_ms"]) > self.offer.deadline_ms:
                found["problem"] = f"an answer after {max(found['after_ms']):,.0f} ms"
        found["recovered"] = found["problem"] is None
        return found

    def path(self, rate: float, kind: str) -> Path:
        return self.folder / f"{self.name}-{rate:.4g}rps.{kind}"

    def write(self, record: dict[str, Any]) -> None:
        write_json(self.folder / f"{self.name}.json", record)
        pd.DataFrame(record["rates"]).to_csv(self.folder / f"{self.name}.csv", index=False)
