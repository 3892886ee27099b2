"""Failures of requests of other protocols: as those of the servers' own routes, in the protocol's form."""

import asyncio
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import EMBEDDED, SERVERS
from fastapi.testclient import TestClient
from test_load_shedding import Full, ask, both, full, metrics, posted, started  # noqa: F401, fixtures
from test_shutdown import Posted, ready_app

INFER = "/v2/models/{}/infer"
TENSOR = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a film"]}]}'
BODIES = {
    "/translate": b'{"q": "a film", "source": "en", "target": "de"}',
    "/predict": b'{"inputs": "a film"}',
    INFER.format("translation"): TENSOR,
    INFER.format("sentiment"): TENSOR,
}
SECRET = "/srv/models/secret.safetensors"
Client = tuple[TestClient, Any, Callable[[Exception], None]]


def expected(route: str, status: int, message: str, error_type: str) -> tuple[int, dict[str, str]]:
    """TEI alone has types of errors, and 429 for overload."""
    if route == "/predict":
        return 429 if error_type == "Overloaded" else status, {"error": message, "error_type": error_type}
    return status, {"error": message}


@pytest.fixture(params=SERVERS)
def failing(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A server, its errors module, and what makes its engine raise an error."""
    parts = ("engine", "errors", "model_files")
    engine, errors, model_files = (import_module(f"{request.param}.web.{part}") for part in parts)
    languages = {"source_language": "en", "target_language": "de"}
    files = model_files.ModelFiles("translation/onnx", EMBEDDED, languages)
    raised: list[Exception] = []

    class FailingEngine(engine.Engine):  # type: ignore[misc, name-defined]
        title = "failing"
        models = SimpleNamespace(translator=Letters())
        translation_files = sentiment_files = files

        def load(self) -> None: ...

        def translate(self, *_: Any) -> Any:
            raise raised[-1]

        classify = translate

    settings = import_module(f"{request.param}.config").Settings(models_dir=EMBEDDED)
    app = import_module(f"{request.param}.web.app").create_app(FailingEngine, settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        while "loading" in client.get("/ready").text:
            pass
        yield client, errors, raised.append


class Letters:
    """A model for splitting texts, whose tokens are bytes."""

    source_language = "en"
    max_input_tokens = 256
    unknown_id = -1

    def tokenize(self, text: str) -> list[int]:
        return [*text.encode()]


def post(client: TestClient, route: str) -> Any:
    return client.post(route, content=BODIES[route], headers={"content-type": "application/json"})


@pytest.mark.parametrize("route", BODIES)
def test_each_error_has_the_form_of_its_protocol(failing: Client, route: str) -> None:
    client, errors, raise_next = failing
    for error, status, message, error_type in (
        (
            errors.Refusal("2 requests are waiting already", 7),
            503,
            "2 requests are waiting already",
            "Overloaded",
        ),
        (errors.NotReady("no worker works"), 503, "not ready: no worker works", "Unhealthy"),
        (errors.DeadlineExceeded(), 504, "the deadline passed before the answer was there", "Backend"),
        (RuntimeError(f"cannot read {SECRET}"), 500, "internal server error", "Backend"),
    ):
        raise_next(error)
        answer = post(client, route)
        assert (answer.status_code, answer.json()) == expected(route, status, message, error_type)
        retry_after = {"Overloaded": "7", "Unhealthy": "1"}.get(error_type)
        assert answer.headers.get("retry-after") == retry_after
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("route", BODIES)
def test_errors_are_counted_by_the_status_that_the_client_gets(failing: Client, route: str) -> None:
    client, errors, raise_next = failing
    raise_next(errors.Refusal("full"))
    status = post(client, route).status_code
    assert status == (429 if route == "/predict" else 503)
    assert f'gap_requests_total{{route="{route}",status="{status}"}} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("route", [route for route in BODIES if "translat" not in route])
def test_a_cancelled_request_is_answered_in_its_protocol(name: str, route: str) -> None:
    begun = asyncio.Event()

    async def classify(texts: list[str], request: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async def body() -> dict[str, Any]:
        return {"type": "http.request", "body": BODIES[route], "more_body": False}

    async def scenario() -> None:
        async with ready_app(name, classify) as app:
            request = Posted(app, body, path=route)
            await begun.wait()
            await request.cancel()
            start, end = request.sent
            status, answer = expected(route, 503, "not ready: draining", "Unhealthy")
            assert start["status"] == status and json.loads(end["body"]) == answer
            assert dict(start["headers"])[b"retry-after"] == b"1"

    asyncio.run(scenario())


@both
def test_a_full_server_refuses_at_the_header_in_the_protocols_form(full: Full) -> None:  # noqa: F811
    route = INFER.format("translation")
    before = metrics(full.port)
    status, headers, answer = ask(full.port, posted(TENSOR, route=route.encode()))
    assert (status, answer) == (503, {"error": "2 requests are waiting already"})
    assert int(headers["retry-after"]) >= 1
    name = f'gap_requests_total{{route="{route}",status="503"}}'
    assert metrics(full.port)[name] == before.get(name, 0) + 1
    # Which protocol a body at /translate is of is not known before it is read.
    status, _, answer = ask(full.port, posted(BODIES["/translate"]))
    assert (status, answer) == (503, {"detail": "2 requests are waiting already"})


def test_no_app_is_started_for_what_is_refused_at_the_header(
    full: Full,  # noqa: F811
    started: list[str],  # noqa: F811
) -> None:
    started.clear()
    assert ask(full.port, posted(TENSOR, route=INFER.format("translation").encode()))[0] == 503
    assert started == []
    assert ask(full.port, posted(BODIES["/predict"], route=b"/predict"))[0] == 200
    assert started == ["/predict"], "the other task is not full"
