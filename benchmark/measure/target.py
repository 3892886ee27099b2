"""One server that is offered requests at a rate it cannot hold back, and every request kept."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from benchmark.measure import loopback
from benchmark.measure.configurations import MODEL_FORMATS, has_cache
from benchmark.measure.load import LOAD_GRACE_S
from benchmark.measure.processes import Load, ProcessFailed, Server, free_port
from benchmark.measure.redis_server import clear_cache, redis_url
from benchmark.measure.runner import READY_TIMEOUT_S
from benchmark.runs.plan import Cores
from benchmark.stats.open_loop import COLUMNS, figures
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import Sample, unique

ASKED = 5


@dataclass(frozen=True)
class Offered:
    """A rate in requests a second, and for how long; goodput is what is answered within `limit_ms`.

    With `timeout_ms` the server is told that later answers are worthless. `long_share` of the requests hold
    `long_texts` texts joined into one; with `only_short` these are left out, and the others come as ever.
    """

    rate: float
    duration_s: float
    warmup_s: float
    limit_ms: int
    timeout_ms: int = 0
    seed: int = 0
    long_share: float = 0.0
    long_texts: int = 1
    only_short: bool = False


class Target:
    """A server and what it does, on its cores; files go to `folder`, named after both."""

    def __init__(
        self, server: str, task: str, folder: Path, models_dir: Path, manifest: dict[str, Any], cores: Cores
    ) -> None:
        """Raises ProcessFailed where the models lack what the server needs."""
        self.server = server
        self.task = task
        self.folder = folder
        self.models_dir = models_dir.resolve()
        self.manifest = manifest
        self.cores = cores
        self.name = f"{server}-{task}"
        artefact = f"{task}/{MODEL_FORMATS[server]}"
        if artefact not in manifest["artefacts"]:
            raise ProcessFailed(f"{models_dir} holds no {artefact}; `python optimize_model.py` prepares it")
        self.artefact = manifest["artefacts"][artefact]
        self.redis_url = ""

    @property
    def model(self) -> dict[str, Any]:
        """What the manifest says of the model, for a record."""
        return {key: value for key, value in self.artefact.items() if key != "files"}

    @contextlib.contextmanager
    def with_cache(self) -> Iterator[None]:
        """While the block runs, Redis serves a server that has use for it, where there is a Redis."""
        with contextlib.ExitStack() as stack:
            if has_cache(self.server):
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            yield

    @contextlib.contextmanager
    def serving(self, log: Path, **settings: str) -> Iterator[Server]:
        """A ready server with an empty cache, as its defaults and `settings` have it."""
        settings["GAP_MODELS_DIR"] = str(self.models_dir)
        if self.redis_url:
            clear_cache(self.redis_url)
            settings["REDIS_URL"] = self.redis_url
        server = Server(self.server, free_port(), self.cores.server, log, settings)
        try:
            server.wait_ready(READY_TIMEOUT_S)
            yield server
        finally:
            server.stop()

    def offer(self, server: Server, offered: Offered, stem: str) -> dict[str, Any]:
        """The figures of the requests scheduled within the window; all are kept in `stem`.requests.csv.xz.

        Raises:
            ProcessFailed: the server or the load generator ended early.
        """
        drain_s = offered.limit_ms / 1e3 + 5
        path = self.folder / f"{stem}.requests.csv.xz"
        arguments = ["--host", server.url, "--task", self.task, "--rate", f"{offered.rate:.9g}"]
        arguments += ["--seed", str(offered.seed), "--timeout-ms", str(offered.timeout_ms)]
        arguments += ["--measure-s", f"{offered.duration_s:g}", "--warmup-s", f"{offered.warmup_s:g}"]
        arguments += ["--drain-s", f"{drain_s:g}", "--requests-file", str(path.resolve())]
        arguments += ["--long-share", f"{offered.long_share:g}", "--long-texts", str(offered.long_texts)]
        if offered.only_short:
            arguments.append("--only-short")
        if self.artefact["trained"] and not offered.long_share:
            arguments.append("--check-labels")
        load = Load(arguments, self.cores.load, self.folder / f"{stem}.load.log", "open_loop.py")
        limit_s = offered.warmup_s + offered.duration_s + drain_s + LOAD_GRACE_S
        watchdog = threading.Timer(limit_s, load.process.kill)
        watchdog.daemon = True
        watchdog.start()
        ended = False
        try:
            for event in load.events():
                if server.process.poll() is not None:
                    raise ProcessFailed(f"{self.server} ended in mid-run: {server.last_line()}")
                ended = ended or event["phase"] == "end"
            load.process.wait()
        finally:
            watchdog.cancel()
            load.stop()
        if not ended:
            raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
        requests = pd.read_csv(path, dtype=COLUMNS)
        return {"rate": offered.rate} | figures(requests, offered.duration_s, offered.limit_ms)

    def ask(self, server: Server, seed: int) -> list[dict[str, Any]]:
        """A few texts one by one: each answer, less its score, and its latency in ms.

        Raises:
            ProcessFailed: an answer is wrong, or none comes.
        """
        return [self._ask_one(server, sample) for sample in islice(unique(self.task, seed, "warmup"), ASKED)]

    def _ask_one(self, server: Server, sample: Sample) -> dict[str, Any]:
        started_s = time.perf_counter()
        try:
            answer = loopback.post(
                server.url + route(self.task, batch=False),
                content=request_body([sample], batch=False),
                headers={"Content-Type": "application/json"},
                timeout=READY_TIMEOUT_S,
            )
        except httpx.TransportError as error:
            raise ProcessFailed(f"{self.server} does not answer: {error!r}") from None
        latency_ms = (time.perf_counter() - started_s) * 1e3
        wrong = problem(
            self.task,
            answer.status_code,
            answer.content,
            [sample],
            batch=False,
            check_labels=self.artefact["trained"],
        )
        if wrong:
            raise ProcessFailed(f"{self.server} answers {self.task} wrongly without load: {wrong}")
        told = {key: value for key, value in answer.json().items() if key != "score"}
        return {"answer": told, "latency_ms": latency_ms}
