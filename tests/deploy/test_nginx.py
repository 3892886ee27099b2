"""A real nginx with deploy/nginx: what it passes on, and what it tries again on another process."""

import http.server
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import serving
from deploy_files import DEPLOY
from steady_load import SteadyLoad

from baseline.web.settings import HttpSettings
from benchmark.measure import loopback
from benchmark.measure.processes import READY_POLL_S, Child, free_port
from optimized.web.cpus import allowed_cpus

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="there is no nginx; on Debian: apt-get install nginx")
SNIPPET = (DEPLOY / "nginx" / "inference-gap.conf").read_text()
START_S = STOP_S = 20.0
STOPPED_AFTER, ANSWERS = 300, 900
PASSED_ON = ("/ready", "/health", "/languages", "/v2", "/v2/models/sentiment/ready")


class Upstream(http.server.ThreadingHTTPServer):
    """Answers every request with one status, and counts them."""

    daemon_threads = True

    def __init__(self, status: int) -> None:
        self.status = status
        self.bodies: list[bytes] = []
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        self.send_response(self.server.status)
        if self.server.status == 503:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxied(folder: Path, *statuses: int) -> Iterator[tuple[httpx.Client, list[Upstream]]]:
    """A client of an nginx before two upstreams, each with its status; 0: nothing listens."""
    with ExitStack() as stack:
        upstreams = [Upstream(status) for status in statuses]
        for status, upstream in zip(statuses, upstreams, strict=True):
            stack.callback(upstream.server_close)
            stack.callback(upstream.shutdown)
            if not status:
                upstream.shutdown()
                upstream.server_close()
        ports = [upstream.port for upstream in upstreams]
        client = stack.enter_context(nginx(folder, *ports))
        yield client, upstreams


@contextmanager
def nginx(folder: Path, *ports: int) -> Iterator[httpx.Client]:
    """A client of an nginx before the servers on these ports."""
    with ExitStack() as stack:
        port = free_port()
        text = SNIPPET.replace("listen 8080", f"listen 127.0.0.1:{port}")
        for number, one in enumerate(ports, 1):
            text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{one}")
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        # Started by root, its worker would be another user, who cannot read this folder.
        user = "" if os.getuid() else "user root;"
        config.write_text(
            f"{user} daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
        )
        command = [str(NGINX), "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        stack.enter_context(Child(command, tuple(allowed_cpus()), folder / "nginx.log", {}))
        client = stack.enter_context(loopback.Client(base_url=f"http://127.0.0.1:{port}", timeout=30.0))
        ends_s = time.monotonic() + START_S
        while True:
            try:
                assert client.get("/metrics").status_code == 404, "it is for the inside alone"
                break
            except httpx.TransportError:
                assert time.monotonic() < ends_s, (folder / "error.log").read_text()
                time.sleep(READY_POLL_S)
        yield client


@needs_nginx
def test_a_server_that_stops_under_load_costs_no_answer(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("first", "second", "nginx")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        first, second = (stack.enter_context(serving("dynamic_batching", one)) for one in folders[:2])
        ports = [int(one.url.rpartition(":")[2]) for one in (first, second)]
        client = stack.enter_context(nginx(folders[2], *ports))
        with SteadyLoad(str(client.base_url)) as load:
            load.wait_for(STOPPED_AFTER)
            first.process.terminate()
            assert first.process.wait(STOP_S) == 0
            load.wait_for(ANSWERS)
        assert {*load.outcomes} == {200}, load.outcomes
        second.check_running()


@needs_nginx
@pytest.mark.parametrize("first", [503, 429, 0], ids=["refuses", "refuses TEI's clients", "is down"])
def test_a_request_that_cost_nothing_is_tried_on_the_other_process(tmp_path: Path, first: int) -> None:
    with proxied(tmp_path, first, 200) as (client, upstreams):
        body = b'{"text": "A man sleeps."}'
        assert [client.post("/translate", content=body).status_code for _ in range(8)] == [200] * 8
        assert upstreams[1].bodies == [body] * 8
        assert first == 0 or upstreams[0].bodies, "it is still asked: a refusal is of one request"


@needs_nginx
def test_where_all_refuse_the_client_is_told_when_to_come_again(tmp_path: Path) -> None:
    with proxied(tmp_path, 503, 503) as (client, upstreams):
        answer = client.post("/sentiment/batch", json={"texts": ["Fine."]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
        assert [len(upstream.bodies) for upstream in upstreams] == [1, 1]


@needs_nginx
@pytest.mark.parametrize("status", [500, 504, 422])
def test_nothing_else_is_tried_again(tmp_path: Path, status: int) -> None:
    with proxied(tmp_path, status, status) as (client, upstreams):
        assert client.post("/translate", json={"text": "Fine."}).status_code == status
        assert sum(len(upstream.bodies) for upstream in upstreams) == 1


@needs_nginx
def test_only_the_routes_of_the_contract_are_passed_on(tmp_path: Path) -> None:
    with proxied(tmp_path, 200, 200) as (client, upstreams):
        assert [client.get(path).status_code for path in PASSED_ON] == [200] * 5
        for path in ("/metrics", "/docs", "/openapi.json", "/", "/translate/other", "/v2x", "/info/x"):
            assert client.get(path).status_code == 404, path
        assert client.post("/translate", content=b"x" * ((2 << 20) + 1)).status_code == 413
        assert sum(len(upstream.bodies) for upstream in upstreams) == len(PASSED_ON)


def test_its_limits_fit_those_of_the_servers() -> None:
    fields = HttpSettings.model_fields
    assert f"client_max_body_size {fields['max_body_bytes'].default >> 20}m;" in SNIPPET
    read_s = int(SNIPPET.partition("proxy_read_timeout ")[2].partition("s;")[0])
    assert read_s * 1e3 > fields["timeout_ms"].default
    assert "keepalive_timeout 60s;" in SNIPPET, "the servers close an idle connection after 75 s"
