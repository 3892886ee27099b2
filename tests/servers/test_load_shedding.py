"""A full server's refusals at the header, over real sockets: the same answers as the app's, counted alike."""

import contextlib
import gc
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import uvicorn
from conftest import EMBEDDED
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmark.measure import loopback
from dynamic_batching.config import Settings
from dynamic_batching.engine import BatchingEngine
from dynamic_batching.sequence import Sequence
from dynamic_batching.web.app import create_app
from dynamic_batching.web.http_limits import LimitedHttp
from dynamic_batching.web.load_shedding import LoadSheddingHttp
from dynamic_batching.web.schemas import Sentiment
from dynamic_batching.web.sentences import TranslatedSentence

TIMEOUT_S = 20.0
# Longer than it takes until a waiting client is watched for its disconnect.
RUN_S = 0.08
WAITING = b'{"text": "wait"}'


class FakeModel:
    """Answers all the same, after RUN_S; to "wait" once it may go on."""

    source_language = "en"
    max_input_tokens = 256
    unknown_id = -1
    meaningless: frozenset[int] = frozenset()

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.go_on = threading.Event()
        self.tokenized: list[str] = []

    def tokenize(self, text: str) -> list[int]:
        self.tokenized.append(text)
        return [*text.encode()]

    def sequence(self, token_ids: list[int], num_beams: int) -> Sequence:
        return Sequence(token_ids)

    def run(self, batch: list[list[int]]) -> list[object]:
        if [*b"wait"] in batch:
            self.go_on.wait(TIMEOUT_S)
        time.sleep(RUN_S)
        return [self.answer] * len(batch)

    translate = classify = run


class Full(NamedTuple):
    """A server whose translation worker is busy, with a full queue."""

    port: int
    translator: FakeModel
    classifier: FakeModel


def posted(
    body: bytes = WAITING, *headers: bytes, route: bytes = b"/translate", method: bytes = b"POST"
) -> bytes:
    lines = [method + b" " + route + b" HTTP/1.1", b"Host: a", b"Content-Type: application/json", *headers]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", body])


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)


def read_answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], Any]]:
    """Status, headers and JSON of the next answers."""
    received, found = b"", []
    while len(found) < count:
        head, ends, rest = received.partition(b"\r\n\r\n")
        length = int(match[1]) if (match := re.search(rb"content-length: (\d+)", head)) else 0
        if not ends or len(rest) < length:
            more = connection.recv(65_536)
            assert more, f"the connection ended after {received!r}"
            received += more
            continue
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        found.append((int(status.split()[1]), headers, json.loads(rest[:length])))
        received = rest[length:]
    assert not received
    return found


def ask(port: int, data: bytes) -> tuple[int, dict[str, str], Any]:
    with connected(port) as connection:
        connection.sendall(data)
        (found,) = read_answers(connection, 1)
    return found


def metrics(port: int) -> dict[str, float]:
    page = loopback.get(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S).text
    samples = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(number) for name, _, number in samples}


def state_is(port: int, waiting: int, task: str = "translation") -> bool:
    """Whether one request runs, and so many wait."""
    page = metrics(port)
    counted = page[f'gap_queue_requests{{task="{task}"}}'], page[f'gap_pending{{task="{task}"}}']
    return counted == (waiting, waiting + 1)


def until(holds: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < ends_s, "it never came to hold"
        time.sleep(0.01)


@pytest.fixture
def full(request: pytest.FixtureRequest) -> Iterator[Full]:
    """With the protocol that a test asks for, the one that sheds load unless it does."""
    protocol: type[HttpToolsProtocol] = getattr(request, "param", LoadSheddingHttp)
    models = Full(
        0, FakeModel(TranslatedSentence("Antwort", "stop")), FakeModel(Sentiment(label="POSITIVE", score=0.5))
    )

    class FakeEngine(BatchingEngine):
        async def load(self) -> None:
            await self.start(models)  # type: ignore[arg-type]

    settings = Settings(models_dir=EMBEDDED, threads=1, translation_batching="request", queue_size=2)
    app = create_app(FakeEngine, settings)
    serving = uvicorn.Server(uvicorn.Config(app, port=0, http=protocol, ws="none", server_header=False))
    thread = threading.Thread(target=serving.run)
    thread.start()
    unanswered: list[socket.socket] = []
    try:
        until(lambda: serving.started)
        port = serving.servers[0].sockets[0].getsockname()[1]
        until(lambda: loopback.get(f"http://127.0.0.1:{port}/ready").status_code == 200)
        for model in models[1:]:
            model.tokenized.clear()  # the warm-up's text
        for waiting in (0, 1, 2):
            unanswered.append(connected(port))
            unanswered[-1].sendall(posted())
            until(partial(state_is, port, waiting))
        yield models._replace(port=port)
    finally:
        models.translator.go_on.set()
        models.classifier.go_on.set()
        serving.should_exit = True
        thread.join(TIMEOUT_S)
        for connection in unanswered:
            connection.close()
    assert not thread.is_alive()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that the app is started for, from now on."""
    paths: list[str] = []
    start = HttpToolsProtocol._start_asgi_task
    monkeypatch.setattr(
        HttpToolsProtocol,
        "_start_asgi_task",
        lambda self, cycle, app: paths.append(cycle.scope["path"]) or start(self, cycle, app),
    )
    return paths


both = pytest.mark.parametrize("full", [LoadSheddingHttp, LimitedHttp], indirect=True)


@both
def test_a_refusal_says_the_same_with_load_shedding_and_without(full: Full) -> None:
    before = metrics(full.port)
    status, headers, answer = ask(full.port, posted())
    after = metrics(full.port)
    assert status == 503 and answer == {"detail": "2 requests are waiting already"}
    del headers["date"]
    assert headers == {
        "content-type": "application/json",
        "content-length": str(len(json.dumps(answer, separators=(",", ":")))),
        "retry-after": headers["retry-after"],
    }
    assert int(headers["retry-after"]) >= 1
    for name in (
        'gap_refused_total{cause="queue_full",task="translation"}',
        'gap_requests_total{route="/translate",status="503"}',
        'gap_request_duration_seconds_count{route="/translate"}',
    ):
        assert after[name] == before.get(name, 0) + 1, name
    # Reading the page is a request as well.
    assert after["gap_received_total"] == before["gap_received_total"] + 2
    # Before the first text its characters are looked at, once.
    assert full.translator.tokenized.count("wait") == 1 + 3, "a refused text cost work"


def test_no_app_is_started_for_a_refused_request(full: Full, started: list[str]) -> None:
    started.clear()
    assert ask(full.port, posted())[0] == 503
    assert ask(full.port, posted(route=b"/translate/batch"))[0] == 503
    assert started == []
    assert ask(full.port, posted(b'{"text": "a"}', route=b"/sentiment"))[0] == 200
    assert started == ["/sentiment"], "the other task is not full"


def test_of_many_that_arrive_at_once_no_more_are_started_than_have_room(
    full: Full, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    holding = threading.Event()

    def hold_the_event_loop(text: str) -> list[int]:
        if text == "hold":
            holding.set()
            held.wait(TIMEOUT_S)
        return [65]

    with contextlib.ExitStack() as stack:
        busy, holds = (stack.enter_context(connected(full.port)) for _ in range(2))
        busy.sendall(posted(route=b"/sentiment"))
        until(partial(state_is, full.port, 0, "sentiment"))
        monkeypatch.setattr(full.classifier, "tokenize", hold_the_event_loop)
        many = [stack.enter_context(connected(full.port)) for _ in range(20)]
        started.clear()
        holds.sendall(posted(b'{"text": "hold"}', route=b"/sentiment"))
        assert holding.wait(TIMEOUT_S)
        for connection in many:
            connection.sendall(posted(b'{"text": "a"}', route=b"/sentiment"))
        held.set()
        until(partial(state_is, full.port, 2, "sentiment"))
        full.classifier.go_on.set()
        statuses = [read_answers(connection, 1)[0][0] for connection in many]
    assert sorted(statuses) == [200] + [503] * 19
    assert started.count("/sentiment") == 2, "the one that held the event loop, and one for the last place"


@pytest.mark.parametrize(("route", "status"), [(b"/translate", 503), (b"/sentiment", 200)])
def test_a_request_leaves_no_garbage_for_a_collection(full: Full, route: bytes, status: int) -> None:
    requests = 20

    def ask_again(connection: socket.socket) -> None:
        connection.sendall(posted(b'{"text": "a"}', route=route))
        assert read_answers(connection, 1)[0][0] == status

    with connected(full.port) as connection:
        ask_again(connection)
        gc.collect()
        gc.disable()
        try:
            for _ in range(requests):
                ask_again(connection)
            assert gc.collect() < requests, "each request leaves a cycle behind"
        finally:
            gc.enable()


@both
def test_what_is_no_request_for_a_full_queue_is_answered_as_ever(full: Full) -> None:
    assert ask(full.port, posted(method=b"GET"))[0] == 405
    assert ask(full.port, posted(route=b"/translation"))[0] == 404
    status, _, answer = ask(full.port, posted(WAITING, b"X-Timeout-Ms: soon"))
    assert status == 422 and answer["detail"][0]["loc"] == ["header", "x-timeout-ms"]


def test_a_deadline_that_cannot_be_met_is_refused_at_the_header(full: Full) -> None:
    before = metrics(full.port)
    name = 'gap_refused_total{cause="deadline_unmeetable",task="sentiment"}'
    with connected(full.port) as busy, connected(full.port) as waiting:
        busy.sendall(posted(route=b"/sentiment"))
        until(lambda: len(full.classifier.tokenized) == 1)
        waiting.sendall(posted(b'{"text": "a"}', route=b"/sentiment"))
        until(lambda: metrics(full.port)['gap_queue_requests{task="sentiment"}'] == 1)
        status, _, answer = ask(full.port, posted(b'{"text": "a"}', b"X-Timeout-Ms: 1", route=b"/sentiment"))
    assert status == 503 and "deadline" in answer["detail"]
    assert metrics(full.port)[name] == before[name] + 1


@both
def test_a_connection_goes_on_after_refusals_whose_bodies_come_late_in_pieces_or_never(full: Full) -> None:
    with connected(full.port) as connection:
        for _ in range(3):
            head, _, body = posted().partition(b"\r\n\r\n")
            connection.sendall(head + b"\r\n\r\n")
            assert read_answers(connection, 1)[0][0] == 503
            connection.sendall(body[:5])
            connection.sendall(body[5:])
        connection.sendall(posted(b'{"text": "a"}', route=b"/sentiment"))
        assert read_answers(connection, 1)[0][0] == 200
        chunked = posted(b"", b"Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
        connection.sendall(chunked + b"5\r\nab")
        assert read_answers(connection, 1)[0][0] == 503


@both
def test_the_body_of_a_refused_request_is_bounded(full: Full) -> None:
    with connected(full.port) as connection:
        connection.sendall(posted(b"").replace(b"Content-Length: 0", b"Content-Length: 1000000000"))
        assert read_answers(connection, 1)[0][0] == 503
        sent = 0
        with pytest.raises(OSError):
            while sent < 1_000_000_000:
                connection.sendall(b" " * 65_536)
                sent += 65_536
        assert sent < 100_000_000


@both
def test_a_client_that_asks_for_it_is_left_after_its_refusal(full: Full) -> None:
    with connected(full.port) as connection:
        connection.sendall(posted(WAITING, b"Connection: close"))
        ((status, headers, _),) = read_answers(connection, 1)
        assert status == 503 and headers["connection"] == "close"
        assert connection.recv(1) == b""


@both
def test_pipelined_requests_are_answered_in_their_order_however_many(full: Full) -> None:
    with connected(full.port) as connection:
        connection.sendall(posted() * 1_000)
        answers = read_answers(connection, 1_000)
        assert {status for status, _, _ in answers} == {503}
    # Behind a request that is being answered, the refusals wait for their turn.
    with connected(full.port) as connection:
        connection.sendall(posted(route=b"/sentiment") + posted() * 1_000)
        until(lambda: full.classifier.tokenized == ["wait"])
        full.classifier.go_on.set()
        statuses = [status for status, _, _ in read_answers(connection, 1_001)]
    assert statuses == [200] + [503] * 1_000


def test_a_refusal_is_in_the_access_log(full: Full, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("uvicorn.access").addHandler(caplog.handler)
    assert ask(full.port, posted(route=b"/translate?a=b"))[0] == 503
    (line,) = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"][-1:]
    assert line.endswith('"POST /translate?a=b HTTP/1.1" 503')
