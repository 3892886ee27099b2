"""Real servers on the embedded models, one process each for the whole session of a test worker."""

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import hypothesis
import pytest

from benchmark.measure import loopback
from benchmark.measure.processes import READY_POLL_S, Server, free_port
from benchmark.measure.redis_server import NO_REDIS, RedisProcess, has_redis, running_redis
from model_export.instruction_sets import InstructionSet
from model_export.kernels import BuildFailed, Unavailable, best_instructions, build
from optimized.runtime.onnx_files import cpu_flags
from optimized.web.cpus import allowed_cpus

SERVERS = ("baseline", "optimized", "dynamic_batching")
EMBEDDED = Path(__file__).resolve().parent.parent / "models-embedded"
READY_TIMEOUT_S = 120.0
# Short enough to be waited for in a test, long beside what any honest client here needs.
RECEIVE_TIMEOUT_MS = "3000"
# Each operator of a baseline with more threads would wait for a core that the tests are on.
OWN_SETTINGS = {"baseline": {"GAP_THREADS": "1"}}
# Started first, so that two test processes end together.
SLOWEST = (Path(__file__).parent / "slowest.txt").read_text().split()
# Two test processes whose PyTorch has a thread a core wait for each other's: with one it is 5 times as fast.
os.environ["OMP_NUM_THREADS"] = "1"
# Libraries with clients of their own (schemathesis, pip, ...) ask servers and stubs on loopback directly too.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
# No test may fail because the machine was busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--url", help="a server on the embedded models, which is tested instead of our own")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: index for index, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@functools.cache
def built_kernels(instructions: InstructionSet | None) -> Path | Unavailable:
    """The library of native kernels, or why there is none here."""
    try:
        return build(instructions or best_instructions(), print)
    except Unavailable as reason:
        return reason


def native_kernels(instructions: InstructionSet | None = None) -> Path:
    """The library of native kernels for `instructions`, or the best that there are here.

    A test is skipped where there can be none, and fails if it is broken.
    """
    if instructions is not None and not {*instructions.flags} <= cpu_flags():
        pytest.skip(f"this CPU has no {instructions.title}")
    built = built_kernels(instructions)
    if isinstance(built, BuildFailed):
        raise BuildFailed(str(built))  # a new one: a raised error keeps the traceback of each time it was
    if isinstance(built, Unavailable):
        pytest.skip(f"native kernels: {built}")
    return built


@contextmanager
def serving(name: str, folder: Path, **settings: str) -> Iterator[Server]:
    """A ready server on a free port; stopped when the block ends."""
    if not (EMBEDDED / "manifest.json").is_file():
        pytest.fail("models-embedded/ is missing: `make test` prepares it")
    cores = tuple(allowed_cpus())
    variables = {"GAP_MODELS_DIR": str(EMBEDDED), **OWN_SETTINGS.get(name, {}), **settings}
    server = Server(name, free_port(), cores, folder / f"{name}.log", variables)
    with server:
        server.wait_ready(READY_TIMEOUT_S)
        yield server


@pytest.fixture(scope="session")
def cache() -> Iterator[RedisProcess]:
    if not has_redis():
        pytest.skip(NO_REDIS)
    with running_redis() as server:
        print(server.command("INFO", "server"))
        yield server


@pytest.fixture(scope="session")
def servers(
    cache: RedisProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Server]]:
    """Each server by name, started when it is first asked for and kept: the baseline takes seconds."""
    settings = {"REDIS_URL": cache.url, "GAP_RECEIVE_TIMEOUT_MS": RECEIVE_TIMEOUT_MS}
    with ExitStack() as stack:
        yield functools.cache(
            lambda name: stack.enter_context(serving(name, tmp_path_factory.mktemp("server"), **settings))
        )


@dataclass(frozen=True)
class Elsewhere:
    """A server that runs already, and writes its log elsewhere."""

    url: str
    name: str = "elsewhere"
    log_path: Path = Path(os.devnull)


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server | Elsewhere:
    if url := request.config.getoption("--url"):
        if request.param != SERVERS[0]:
            pytest.skip("--url gives one server")
        return Elsewhere(url)
    servers: Callable[[str], Server] = request.getfixturevalue("servers")
    return servers(request.param)


@pytest.fixture(scope="session")
def client(server: Server | Elsewhere) -> Iterator[httpx.Client]:
    with loopback.Client(base_url=server.url, timeout=60.0) as opened:
        yield opened


def is_ready(port: int) -> bool:
    """Whether the server on `port` is ready; takes a moment if not, so that a loop leaves it the core."""
    try:
        if loopback.get(f"http://127.0.0.1:{port}/ready", timeout=5.0).status_code == 200:
            return True
    except httpx.TransportError:
        pass
    time.sleep(READY_POLL_S)
    return False
