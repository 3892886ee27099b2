"""Servers on loopback are asked directly, whatever the environment says of proxies and certificates."""

import ast
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout import tracked_modules
from conftest import EMBEDDED
from test_load_generator_limit import PLAN

from benchmark.measure.closed_loop import measure_closed_loop
from benchmark.measure.configurations import default_configuration
from benchmark.measure.load_generator_limit import start_echo_server
from benchmark.measure.processes import Server
from benchmark.measure.server_metrics import ServerMetrics
from benchmark.measure.target import Target
from benchmark.runs.plan import Cores
from benchmark.runs.records import Cell, read_json
from chaos.golden_answers import read_golden_answers

PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
# Other tests ask 127.0.0.1, also on ports where their server does not listen yet.
PROXY_HOST = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


@pytest.fixture
def proxy() -> Iterator[str]:
    """The address of a proxy; afterwards it must be that nobody has asked it."""
    with socket.socket() as listener:
        listener.bind((PROXY_HOST, 0))
        listener.listen()
        yield f"{PROXY_HOST}:{listener.getsockname()[1]}"
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            pytest.fail(f"the proxy was asked: {connection.recv(100)!r}")


@pytest.fixture(params=["http proxy", "socks proxy", "certificates"])
def misled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """An environment as companies have it, and as far as loopback goes a wrong one."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    scheme = "socks5" if request.param == "socks proxy" else "http"
    if request.param == "certificates":
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    else:
        for name in PROXIES:
            monkeypatch.setenv(name, f"{scheme}://{proxy}")


@pytest.fixture
def server(servers: Callable[[str], Server]) -> Server:
    # Started before the environment is changed: the first test would pay for its start.
    return servers("dynamic_batching")


def test_a_server_is_seen_to_be_ready(misled: None, tmp_path: Path) -> None:
    with start_echo_server(Cores.split().server, tmp_path / "log") as server:
        server.wait_ready(20)


def make_target(folder: Path) -> Target:
    configuration = default_configuration("dynamic_batching", EMBEDDED, read_json(EMBEDDED / "manifest.json"))
    return Target(configuration, "sentiment", folder, Cores.split())


def test_the_harness_asks_directly(server: Server, misled: None, tmp_path: Path) -> None:
    assert make_target(tmp_path).check_answers(server, seed=0)
    assert ServerMetrics.read(server.url).total("gap_requests_total", route="/sentiment") > 0


def test_chaos_asks_directly(server: Server, misled: None) -> None:
    golden = read_golden_answers(server.url, {"translation": 2, "sentiment": 2}, beam_search_texts=1, seed=0)
    assert len(golden["sentiment", 1]) == 2


def test_the_load_generator_asks_directly(server: Server, misled: None, tmp_path: Path) -> None:
    cell = Cell("dynamic_batching", "sentiment", "unique", 1, 2, 0)
    measured = measure_closed_loop(make_target(tmp_path), server, PLAN, cell)
    assert measured.figures["requests"] and not measured.errors


def environment_clients(source: str) -> list[str]:
    """What of a module uses httpx with the environment's settings."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in ("httpx.get", "httpx.post"))
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in ("httpx.Client", "httpx.AsyncClient"))
    ]


def test_servers_are_asked_by_the_clients_of_one_module() -> None:
    for path in tracked_modules():
        if path.name != "loopback.py":
            assert not environment_clients(path.read_text()), (
                f"{path}: benchmark.measure.loopback has the clients"
            )


def test_the_check_sees_clients() -> None:
    source = "import httpx\nhttpx.get('')\nask(httpx.post)\ndef f(client: httpx.Client): httpx.Client()\n"
    assert len(environment_clients(source)) == 3
