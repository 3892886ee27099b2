"""A stop: requests under way may end in time, a cancelled one gets a 503; in all three servers alike."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from conftest import EMBEDDED, SERVERS, serving
from fastapi import FastAPI
from test_security_answers import uvicorn_options

from benchmark.measure import loopback
from benchmark.measure.processes import Child
from dynamic_batching.worker_pool import MAX_LOST_WORKERS

TIMEOUT_S = 20.0
Classify = Callable[[list[str], Any], Awaitable[Any]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Any], Awaitable[None]]
every_server = pytest.mark.parametrize("name", SERVERS)


@asynccontextmanager
async def ready_app(name: str, classify: Classify) -> AsyncIterator[FastAPI]:
    """The app of an engine that classifies with `classify`, loaded."""
    web = import_module(f"{name}.web.engine")
    model_files = import_module(f"{name}.web.model_files")

    class FakeEngine(web.Engine):  # type: ignore[misc, name-defined]
        title = "fake"
        models = SimpleNamespace(translator=None)
        translation_files = sentiment_files = model_files.ModelFiles("", EMBEDDED, {})

        async def load(self) -> None: ...

        async def translate(self, texts: list[str], num_beams: int, request: Any) -> list[str]:
            return texts

        async def classify(self, texts: list[str], request: Any) -> Any:
            return await classify(texts, request)

    settings = import_module(f"{name}.config").Settings(models_dir=EMBEDDED)
    app: FastAPI = import_module(f"{name}.web.app").create_app(FakeEngine, settings)
    async with app.router.lifespan_context(app):
        # The load begins in this turn of the event loop and ends in it.
        await asyncio.sleep(0)
        yield app


async def whole_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b'{"text": "a film"}', "more_body": False}


async def forever() -> Any:
    await asyncio.Event().wait()


class Posted:
    """A POST to the app as an ASGI server runs it: its task, and what was `sent` of the answer."""

    def __init__(
        self,
        app: FastAPI,
        receive: Receive = whole_body,
        send: Send | None = None,
        path: str = "/sentiment",
    ) -> None:
        self.sent: list[Any] = []
        self._send = send
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b""}
        self.task = asyncio.create_task(app(scope, receive, self._note))

    async def _note(self, message: Any) -> None:
        self.sent.append(message)
        if self._send is not None:
            await self._send(message)

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=TIMEOUT_S)
        assert self.task.done()

    @property
    def refused(self) -> bool:
        """Whether it was answered with 503, once and whole."""
        start, body = self.sent
        headers = dict(start["headers"])
        kinds = start["type"], body["type"], body.get("more_body", False)
        assert kinds == ("http.response.start", "http.response.body", False)
        assert body["body"] == b'{"detail":"not ready: draining"}' and int(headers[b"retry-after"]) >= 1
        return bool(start["status"] == 503)


async def answers_counted(app: FastAPI) -> dict[str, float]:
    """The answers to POSTs of the metrics page, by status."""
    async with loopback.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        page = (await client.get("/metrics")).text
    prefix = 'gap_requests_total{route="/sentiment",status="'
    lines = (line.removeprefix(prefix) for line in page.splitlines() if line.startswith(prefix))
    return {status: float(count) for status, count in (line.split('"} ') for line in lines)}


@every_server
def test_a_cancelled_request_is_answered_with_503(name: str) -> None:
    begun = asyncio.Event()

    async def classify(texts: list[str], request: Any) -> Any:
        begun.set()
        await forever()

    async def scenario() -> None:
        async with ready_app(name, classify) as app:
            posted = Posted(app)
            await begun.wait()
            await posted.cancel()
            assert posted.refused and not posted.task.cancelled()
            assert await answers_counted(app) == {"503": 1}

    asyncio.run(scenario())


@every_server
def test_a_request_whose_body_is_awaited_when_it_is_cancelled_is_answered_with_503(name: str) -> None:
    begun = asyncio.Event()

    async def receive() -> Any:
        begun.set()
        await forever()

    async def scenario() -> None:
        async with ready_app(name, forever) as app:  # type: ignore[arg-type]
            posted = Posted(app, receive)
            await begun.wait()
            await posted.cancel()
            assert posted.refused and not posted.task.cancelled()

    asyncio.run(scenario())


@every_server
def test_what_works_on_a_cancelled_request_in_a_thread_has_no_time_left(name: str) -> None:
    exceeded = import_module(f"{name}.web.errors").DeadlineExceeded
    contexts: list[Any] = []

    async def classify(texts: list[str], request: Any) -> Any:
        contexts.append(request)
        await forever()

    async def scenario() -> None:
        async with ready_app(name, classify) as app:
            posted = Posted(app)
            while not contexts:
                await asyncio.sleep(0)
            assert contexts[0].remaining_s() > 0
            await posted.cancel()
            # A thread cannot be cancelled: it looks at this before each of the other texts.
            with pytest.raises(exceeded):
                contexts[0].remaining_s()

    asyncio.run(scenario())


@every_server
def test_a_request_whose_answer_has_begun_is_not_answered_again(name: str) -> None:
    begun = asyncio.Event()

    async def classify(texts: list[str], request: Any) -> Any:
        return [{"label": "POSITIVE", "score": 1.0}]

    async def send(message: Any) -> None:
        begun.set()
        await forever()

    async def scenario() -> None:
        async with ready_app(name, classify) as app:
            posted = Posted(app, send=send)
            await begun.wait()
            await posted.cancel()
            assert posted.task.cancelled()
            assert [message.get("status") for message in posted.sent] == [200]
            assert await answers_counted(app) == {"200": 1}

    asyncio.run(scenario())


@every_server
def test_a_request_that_nobody_cancels_is_answered_by_the_engine(name: str) -> None:
    async def classify(texts: list[str], request: Any) -> Any:
        request.add("inference", 0.5)
        request.headers.append((b"x-cache", b"hit"))
        return [{"label": "POSITIVE", "score": len(texts[0])}]

    async def scenario() -> None:
        async with ready_app(name, classify) as app:
            posted = Posted(app)
            await posted.task
            start, body = posted.sent
            assert (start["status"], body["body"]) == (200, b'{"label":"POSITIVE","score":6}')
            headers = dict(start["headers"])
            assert headers[b"server-timing"] == b"tokenize;dur=0.00, queue;dur=0.00, inference;dur=500.00"
            assert headers[b"x-cache"] == b"hit"
            assert await answers_counted(app) == {"200": 1}

    asyncio.run(scenario())


@every_server
def test_an_engine_that_is_broken_stops_the_server_as_failed(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[Any] = []
    monkeypatch.setattr(signal, "raise_signal", ended.append)
    monkeypatch.setattr(f"{name}.web.service.end_process", lambda: ended.append("failed"))

    async def scenario() -> None:
        async with ready_app(name, forever) as app:  # type: ignore[arg-type]
            engine = app.state.service.engine
            engine.on_broken("nothing works")
            engine.on_broken("nothing works")
            assert ended == [signal.SIGTERM], "it drains first"
        assert ended == [signal.SIGTERM, "failed"]

    asyncio.run(scenario())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "the server ends: nothing works"
    ]


@every_server
@pytest.mark.parametrize(("drain_timeout_ms", "seconds"), [("4000", 4), ("1001", 2), ("1", 1)])
def test_a_stop_waits_at_least_as_long_as_the_setting_says(
    name: str, drain_timeout_ms: str, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAP_DRAIN_TIMEOUT_MS", drain_timeout_ms)
    _, options = uvicorn_options(name, [], monkeypatch)
    assert options["timeout_graceful_shutdown"] == seconds


@every_server
@pytest.mark.parametrize(
    ("stall_ms", "drain_timeout_ms", "status"), [(60_000, 1_000, 503), (500, 60_000, 200)]
)
def test_each_request_under_way_at_a_stop_is_answered_and_the_process_ends(
    name: str, stall_ms: int, drain_timeout_ms: int, status: int, tmp_path: Path
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    settings = {"GAP_FAULTS": str(faults), "GAP_DRAIN_TIMEOUT_MS": str(drain_timeout_ms), "GAP_THREADS": "1"}
    with (
        serving(name, tmp_path, **settings) as server,
        loopback.Client(base_url=server.url, timeout=TIMEOUT_S) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        stall = faults / "stall-sentiment-now"
        stall.write_text(str(stall_ms))
        body, url = {"text": "a film"}, f"{server.url}/sentiment"
        answer = pool.submit(loopback.post, url, json=body, timeout=TIMEOUT_S)
        while stall.exists():
            assert client.get("/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        found = answer.result()
        assert found.status_code == status, found.text
        assert status == 200 or (
            found.json() == {"detail": "not ready: draining"} and int(found.headers["retry-after"]) >= 1
        )
        assert server.process.wait(TIMEOUT_S) == 0
        assert "Traceback" not in server.log_path.read_text()


@pytest.mark.parametrize("command", ["python -m", "uvicorn"])
def test_a_server_that_gives_up_a_model_answers_what_is_under_way_and_ends_as_failed(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    settings = {"GAP_FAULTS": str(faults), "GAP_WORKER_STALL_MS": "800", "GAP_THREADS": "1"}
    if command == "uvicorn":
        monkeypatch.setattr("benchmark.measure.processes.Child.__init__", with_plain_uvicorn(Child.__init__))
    with serving("dynamic_batching", tmp_path, **settings) as server, ThreadPoolExecutor(1) as pool:
        for number in range(MAX_LOST_WORKERS):
            (faults / f"stall-sentiment-{number}").write_text("600000")
        translating = pool.submit(post_until_refused, f"{server.url}/translate")
        statuses = post_until_refused(f"{server.url}/sentiment")
        assert server.process.wait(TIMEOUT_S) == 1
        assert {*statuses} == {500} or {*statuses} == {500, 503}
        assert {*translating.result()} <= {200, 503}
    log = server.log_path.read_text()
    assert log.count("the server ends: 3 sentiment workers in a row hung or ended") == 1
    assert "Traceback" not in log


def with_plain_uvicorn(start: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Child, command: list[str], *arguments: Any, **options: Any) -> None:
        if "dynamic_batching" in command:
            port = command[command.index("--port") + 1]
            command = [sys.executable, "-m", "uvicorn", "dynamic_batching.server:app", "--port", port]
        start(self, command, *arguments, **options)

    return begin


def post_until_refused(url: str) -> list[int]:
    """The statuses of one request after the other, until the server takes no more."""
    statuses = []
    try:
        while True:
            statuses.append(loopback.post(url, json={"text": "a film"}, timeout=TIMEOUT_S).status_code)
    except httpx.TransportError:
        return statuses
