"""One server and one task, and what is needed to load it: its cores, its models, the folder of its files."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from benchmark.measure import loopback
from benchmark.measure.configurations import Configuration
from benchmark.measure.load import LOAD_GRACE_S, OPEN_LOOP, run_load
from benchmark.measure.process_sampler import Sampler
from benchmark.measure.processes import READY_TIMEOUT_S, ProcessFailed, Server, free_port
from benchmark.measure.redis_server import clear_cache, redis_url
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.stats.open_loop import COLUMNS, figures
from locustfiles.answers import problem, request_body
from locustfiles.inputs import Sample, repeated_texts, unique

DRAIN_MARGIN_S = 5.0
CHECKED_REQUESTS = 5
CACHE_FILL_BATCH_SIZE = 16  # texts of a request
HEADERS = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Offered:
    """A rate in requests a second, and for how long; all but `limit_ms` are options of open_loop.py.

    Goodput is what is answered within `limit_ms`. With `timeout_ms` the server is told that later answers are
    worthless. `long_share` of the requests hold `long_texts` texts joined into one; with `only_short` these
    are left out, and the others stay the same.
    """

    rate: float
    measure_s: float
    warmup_s: float
    limit_ms: int
    timeout_ms: int = 0
    seed: int = 0
    long_share: float = 0.0
    long_texts: int = 1
    only_short: bool = False

    def figures(self, requests: pd.DataFrame) -> dict[str, Any]:
        return {"rate": self.rate} | figures(requests, self.measure_s, self.limit_ms)


@dataclass
class Target:
    """A server and its task; its files go to `folder`, its logs to `logs_folder` where that is another.

    `redis_url` is of the Redis for its cache.
    """

    configuration: Configuration
    task: str
    folder: Path
    cores: Cores
    logs_folder: Path | None = None
    redis_url: str = ""

    @property
    def server(self) -> str:
        return self.configuration.server

    @property
    def name(self) -> str:
        return f"{self.server}-{self.task}"

    @property
    def trained(self) -> bool:
        """Whether its answers mean something; ProcessFailed where the models lack what the server needs."""
        return self.configuration.artefact(self.task)["trained"]

    def path(self, stem: str, kind: str) -> Path:
        return self.folder / f"{stem}.{kind}"

    def log_path(self, stem: str, process: str) -> Path:
        return (self.logs_folder or self.folder) / f"{stem}.{process}.log"

    @property
    def record_path(self) -> Path:
        return self.path(self.name, "json")

    def requests_path(self, stem: str) -> Path:
        return self.path(stem, "requests.csv.xz")

    def read_requests(self, stem: str) -> pd.DataFrame:
        return pd.read_csv(self.requests_path(stem), dtype=COLUMNS)

    def context(self, **server_settings: str) -> dict[str, Any]:
        """What a record holds besides its figures: the model, and where it was measured."""
        return {
            "model": self.configuration.model(self.task),
            "environment": environment_record(self.cores, server_settings),
        }

    @contextlib.contextmanager
    def with_cache(self) -> Iterator[None]:
        """While the block runs, Redis serves a server that has use for it, where there is a Redis."""
        with contextlib.ExitStack() as stack:
            if self.configuration.cached:
                self.redis_url = stack.enter_context(redis_url(self.cores.server))
            yield

    @contextlib.contextmanager
    def serving(self, stem: str, **settings: str) -> Iterator[Server]:
        """A ready server with an empty cache, its defaults and `settings`; its log is `stem`.server.log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        used = self.configuration
        if used.cached and self.redis_url:
            clear_cache(self.redis_url)
        environment = {**used.environment(self.redis_url), **settings}
        log_path, cores = self.log_path(stem, "server"), self.cores.server
        with used.start(free_port(), cores, log_path, environment) as server:
            server.wait_ready()
            yield server

    def check_answers(self, server: Server, seed: int, texts_per_request: int = 1) -> list[dict[str, Any]]:
        """A few requests without load, one by one: each answer, less its score, and its latency in ms.

        Raises:
            ProcessFailed: an answer is wrong, or there is none.
        """
        texts = unique(self.task, seed, part="warmup")
        answers = []
        for _ in range(CHECKED_REQUESTS):
            samples = list(islice(texts, texts_per_request))
            started_s = time.perf_counter()
            answer = self._post(server, samples, batch=texts_per_request > 1)
            latency_ms = (time.perf_counter() - started_s) * 1e3
            kept = {key: value for key, value in answer.items() if key != "score"}
            answers.append({"answer": kept, "latency_ms": latency_ms})
        return answers

    def load(
        self,
        server: Server,
        stem: str,
        options: Mapping[str, object],
        limit_s: float | None = None,
        **arguments: Any,
    ) -> Sampler:
        """run_load of this task with more of its `arguments`; requests are kept in `stem`.requests.csv.xz."""
        path = self.configuration.path(self.task, options.get("texts_per_request", 1) != 1)
        common = {"task": self.task, "path": path, "check_labels": self.trained}
        common["requests_file"] = self.requests_path(stem)
        log_path = self.log_path(stem, "load")
        return run_load(server, {**common, **options}, self.cores.load, log_path, limit_s, **arguments)

    def offer(self, server: Server, offered: Offered, stem: str) -> pd.DataFrame:
        """The requests of an open loop, one row each; raises as run_load does."""
        options = asdict(offered)
        drain_s = options.pop("limit_ms") / 1e3 + DRAIN_MARGIN_S
        limit_s = offered.warmup_s + offered.measure_s + drain_s + LOAD_GRACE_S
        # A long text has no certain label.
        options |= {"drain_s": drain_s, "check_labels": self.trained and not offered.long_share}
        self.load(server, stem, options, limit_s, locustfile=OPEN_LOOP)
        return self.read_requests(stem)

    def fill_cache(self, server: Server, seed: int) -> None:
        """Sends each repeated text of the workload `zipf` once, in batches; raises ProcessFailed."""
        texts = repeated_texts(self.task, seed)
        for first in range(0, len(texts), CACHE_FILL_BATCH_SIZE):
            self._post(server, texts[first : first + CACHE_FILL_BATCH_SIZE], batch=True)

    def _post(self, server: Server, samples: list[Sample], batch: bool) -> dict[str, Any]:
        """The JSON answer to `samples`; ProcessFailed where it is wrong, or there is none."""
        try:
            answer = loopback.post(
                server.url + self.configuration.path(self.task, batch),
                content=request_body(samples, batch),
                headers=HEADERS,
                timeout=READY_TIMEOUT_S,
            )
        except httpx.TransportError as error:
            raise ProcessFailed(f"{server.name} does not answer without load: {error!r}") from None
        received = (answer.status_code, answer.content)
        wrong = problem(self.task, *received, samples, batch=batch, check_labels=self.trained)
        if wrong:
            raise ProcessFailed(f"{server.name} answers {self.task} wrongly without load: {wrong}")
        return answer.json()
