"""Real servers on the embedded models, one process each for the whole session."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from benchmark.processes import Server, free_port
from benchmark.redis_server import RedisProcess, running_redis

SERVERS = ("baseline", "optimized", "dynamic_batching")
EMBEDDED = Path(__file__).resolve().parent.parent / "models-embedded"
READY_TIMEOUT_S = 120.0
# Short enough to be waited for in a test, long beside what any honest client here needs.
RECEIVE_TIMEOUT_MS = "3000"


@contextmanager
def serving(name: str, folder: Path, **settings: str) -> Iterator[Server]:
    """A ready server on a free port; stopped when the block ends."""
    if not (EMBEDDED / "manifest.json").is_file():
        pytest.fail("models-embedded/ is missing: `make test` prepares it")
    cores = tuple(sorted(os.sched_getaffinity(0)))
    server = Server(
        name, free_port(), cores, folder / f"{name}.log", {"GAP_MODELS_DIR": str(EMBEDDED), **settings}
    )
    try:
        server.wait_ready(READY_TIMEOUT_S)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cache() -> Iterator[RedisProcess]:
    with running_redis() as server:
        print(server.version)
        yield server


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, cache: RedisProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    settings = {"REDIS_URL": cache.url, "GAP_RECEIVE_TIMEOUT_MS": RECEIVE_TIMEOUT_MS}
    with serving(request.param, folder, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60.0) as opened:
        yield opened
