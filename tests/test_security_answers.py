"""What nobody foresaw leaves a server as a fixed text; what went wrong is in its log alone."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED, SERVERS
from fastapi.testclient import TestClient
from uvicorn.importer import import_from_string

ROUTES = {"/translate": {"text": "a"}, "/sentiment/batch": {"texts": ["a"]}}
SECRET = "/srv/models/secret.safetensors"


@pytest.fixture(params=SERVERS)
def broken(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    """A server whose every answer needs models that raise when they are looked at."""
    server = importlib.import_module(f"{request.param}.server")
    config = importlib.import_module(f"{request.param}.config")
    app = server.create_app(config.Settings(models_dir=EMBEDDED))

    def fail(*_: Any) -> Any:
        raise RuntimeError(f"cannot read {SECRET}")

    lifecycle = app.state.lifecycle
    lifecycle._load = fail
    lifecycle.models = lifecycle.batchers = lifecycle.check_ready = fail
    # Not entered, so that the lifespan does not run: a server without models stops, and answers nothing.
    app.state.answerer = None
    yield TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("route", ROUTES)
def test_an_internal_error_says_nothing_of_itself(broken: TestClient, route: str) -> None:
    answer = broken.post(route, json=ROUTES[route])
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal server error"})
    assert SECRET not in answer.text + str(answer.headers)


def test_readiness_says_nothing_of_it_either(broken: TestClient) -> None:
    answer = broken.get("/ready")
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal server error"})


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_listens_on_loopback_unless_told_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = importlib.import_module(f"{name}.__main__")
    protocol = importlib.import_module(f"{name}.protocol")
    # What it does with SIGTERM is for a server's process, not for this one.
    monkeypatch.setattr(entry, "end_at_sigterm", lambda: None)
    asked: list[Any] = []
    monkeypatch.setattr(
        sys.modules["uvicorn.main"], "run", lambda app, **options: asked.append((app, options))
    )
    for more in ([], ["--host", "0.0.0.0", "--port", "1"]):
        with pytest.raises(SystemExit):
            entry.serve(more)
    (app, told), (_, other) = asked
    assert app == f"{name}.server:app" and told["host"] == "127.0.0.1"
    assert issubclass(import_from_string(told["http"]), protocol.LimitedHttp) and told["ws"] == "none"
    assert not told["proxy_headers"]
    assert (other["host"], other["port"]) == ("0.0.0.0", 1)


def test_no_command_of_the_makefile_or_readme_opens_a_server_to_the_network() -> None:
    root = Path(__file__).resolve().parent.parent
    for path in ("Makefile", "README.md"):
        assert "0.0.0.0" not in (root / path).read_text()
