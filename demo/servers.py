"""The three servers behind the page: started together on one core, watched, and stopped together."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.charts.titles import NAMES
from benchmark.measure.configurations import CLOSED_LOOP_SETTINGS, default_configuration
from benchmark.measure.processes import ProcessFailed, Server, free_port
from benchmark.measure.redis_server import NO_REDIS, clear_cache, has_redis, redis_url
from benchmark.runs.environment import can_pin
from benchmark.runs.plan import Cores
from benchmark.runs.records import SERVERS, TASKS

# Nobody waits for what is under way when the demo ends.
SETTINGS = {**CLOSED_LOOP_SETTINGS, "GAP_DRAIN_TIMEOUT_MS": "1000"}
TRACED = "dynamic_batching"
PrintLine = Callable[[str], object]


@dataclass
class DemoServer:
    """A server, and why it is not there; `trace_path` is where it writes its batch trace, if it does."""

    process: Server
    print_line: PrintLine
    trace_path: Path | None = None
    error: str = ""

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def url(self) -> str:
        return self.process.url

    def wait_ready(self, cores: tuple[int, ...]) -> None:
        """Waits until the server is ready, then pins it to `cores`; keeps the error where it is not."""
        try:
            self.process.wait_ready()
            self.process.pin(cores)
            self.print_line(f"{self.name} is ready on {self.url}")
        except ProcessFailed as error:
            self._fail(error)

    def check(self) -> None:
        """Raises ProcessFailed where the server is not running; prints that once."""
        if not self.error:
            try:
                self.process.check_running()
            except ProcessFailed as error:
                self._fail(error)
        if self.error:
            raise ProcessFailed(self.error)

    def _fail(self, error: ProcessFailed) -> None:
        self.error = str(error)
        self.print_line(f"error: {error}")

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "title": NAMES[self.name], "url": self.url, "error": self.error}


@dataclass(frozen=True)
class Servers:
    """All three, on the same core.

    `cache` is where optimized keeps its answers, or why it has no cache; `trained`: task -> whether the
    answers of its model mean something.
    """

    all: Sequence[DemoServer]
    cores: Cores
    cache: str
    trained: Mapping[str, bool]

    def notes(self) -> list[str]:
        """What shares what, as sentences for the page."""
        server, load = self.cores.server[0], self.cores.load[0]
        if not can_pin():
            sharing = (
                "This system cannot pin processes to cores: servers, load and browser share all of them."
            )
        elif self.cores.apart:
            sharing = f"The servers share core {server}; the load and this page's server run on core {load}."
        else:
            sharing = f"The servers, the load and this page's server share core {server}."
        return [
            f"{sharing} One server is asked at a time. The browser runs on any core and takes its part.",
            f"Cache of optimized: {self.cache}.",
            "dynamic_batching writes a trace of each text while it is compared.",
        ]


@contextmanager
def running_servers(
    models: Path, manifest: dict[str, Any], cores: Cores, print_line: PrintLine
) -> Iterator[Servers]:
    """The servers, each ready or with an error, for as long as the block runs.

    They start on all cores, since imports on one core take seconds longer, and are pinned once ready.

    Raises ProcessFailed where `models` lacks a model.
    """
    configurations = [default_configuration(server, models, manifest) for server in SERVERS]
    trained = {task: all(one.artefact(task)["trained"] for one in configurations) for task in TASKS}
    all_cores = cores.server + cores.load
    threads = {"GAP_THREADS": str(len(cores.server))}
    with TemporaryDirectory(prefix="inference-gap-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        print_line(f"starting {', '.join(SERVERS)} with {models}")
        servers = []
        with deferred_interrupts():
            cache, url = start_cache(stack, cores)
            for one in configurations:
                trace = folder / "trace.jsonl" if one.server == TRACED else None
                tracing = {"GAP_TRACE_PATH": str(trace) if trace else None}
                environment = {**one.environment(url), **SETTINGS, **threads, **tracing}
                process = one.start(free_port(), all_cores, folder / f"{one.server}.log", environment)
                stack.callback(process.stop)
                servers.append(DemoServer(process, print_line, trace))
        # Runs first as the block ends: they drain side by side.
        stack.callback(terminate, servers)
        print_line(f"cache: {cache}")
        for server in servers:
            server.wait_ready(cores.server)
        yield Servers(servers, cores, cache, trained)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """KeyboardInterrupt comes after the block, not in it: Python drops one that it raises while it forks."""
    seen: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in handlers:
        signal.signal(number, lambda number, _: seen.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for received in seen:
        signal.raise_signal(received)


def start_cache(stack: ExitStack, cores: Cores) -> tuple[str, str]:
    """What to say of the cache, and its URL with no key of the servers in it; empty where there is none."""
    if not has_redis():
        return f"none, since {NO_REDIS}", ""
    try:
        url = stack.enter_context(redis_url(cores.server))
        clear_cache(url)
    except ProcessFailed as error:
        return f"none, since {error}", ""
    return "Redis", url


def terminate(servers: Sequence[DemoServer]) -> None:
    for server in servers:
        server.process.process.terminate()
