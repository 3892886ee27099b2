"""What nobody foresaw leaves a server as a fixed text; what went wrong is in its log alone."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import EMBEDDED, SERVERS
from fastapi.testclient import TestClient
from uvicorn.importer import import_from_string

ROUTES = {"/translate": {"text": "a"}, "/sentiment/batch": {"texts": ["a"]}}
SECRET = "/srv/models/secret.safetensors"


@pytest.fixture(params=SERVERS)
def broken(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A server whose engine loads, and then raises whatever it is asked."""
    web = importlib.import_module(f"{request.param}.web.engine")
    app = importlib.import_module(f"{request.param}.web.app")
    config = importlib.import_module(f"{request.param}.config")
    model_files = importlib.import_module(f"{request.param}.web.model_files")

    def fail(*_: Any) -> Any:
        raise RuntimeError(f"cannot read {SECRET}")

    letters = SimpleNamespace(
        source_language="en", max_input_tokens=256, unknown_id=-1, tokenize=lambda text: [*text.encode()]
    )

    class BrokenEngine(web.Engine):  # type: ignore[misc, name-defined]
        title = "broken"
        models = SimpleNamespace(translator=letters)
        translation_files = sentiment_files = model_files.ModelFiles("", EMBEDDED, {})
        translate = classify = unready = fail

        def load(self) -> None: ...

    made = app.create_app(BrokenEngine, config.Settings(models_dir=EMBEDDED))
    with TestClient(made, raise_server_exceptions=False) as client:
        while "loading" in client.get("/ready").text:
            pass
        yield client


@pytest.mark.parametrize("route", ROUTES)
def test_an_internal_error_says_nothing_of_itself(broken: TestClient, route: str) -> None:
    answer = broken.post(route, json=ROUTES[route])
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal server error"})
    assert SECRET not in answer.text + str(answer.headers)


@pytest.mark.parametrize("route", ROUTES)
def test_a_500_says_that_its_connection_is_closed(broken: TestClient, route: str) -> None:
    answer = broken.post(route, json=ROUTES[route])
    assert (answer.status_code, answer.headers["connection"]) == (500, "close")


def test_readiness_says_nothing_of_it_either(broken: TestClient) -> None:
    answer = broken.get("/ready")
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal server error"})


def uvicorn_options(name: str, options: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """What `python -m` this server gives uvicorn: the app, and how it is to be run."""
    entry = importlib.import_module(f"{name}.__main__")
    calls: list[Any] = []
    # What it does with SIGTERM is for a server's process, not for this one.
    monkeypatch.setattr(entry.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys.modules["uvicorn.main"], "run", lambda app, **more: calls.append((app, more)))
    with pytest.raises(SystemExit):
        entry.serve(options)
    ((app, given),) = calls
    return app, given


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_listens_on_loopback_unless_an_option_says_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = importlib.import_module(f"{name}.web.http_limits")
    app, own = uvicorn_options(name, [], monkeypatch)
    assert app == f"{name}.server:app" and own["host"] == "127.0.0.1"
    assert issubclass(import_from_string(own["http"]), protocol.LimitedHttp) and own["ws"] == "none"
    assert not own["proxy_headers"]
    _, other = uvicorn_options(name, ["--host", "0.0.0.0", "--port", "1"], monkeypatch)
    assert (other["host"], other["port"]) == ("0.0.0.0", 1)


def test_no_command_of_the_makefile_or_readme_opens_a_server_to_the_network() -> None:
    root = Path(__file__).resolve().parents[2]
    for path in ("Makefile", "README.md"):
        assert "0.0.0.0" not in (root / path).read_text()
