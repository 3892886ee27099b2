"""What is under way when a server's patience ends gets a 503; in all three servers alike."""

import asyncio
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import SERVERS


def given_up(name: str, answer_first: bool = False, cancelled_by_us: bool = True) -> tuple[list[Any], Any]:
    """The messages that a request gets which waits forever, and its clock."""
    module = import_module(f"{name}.draining")
    clock = SimpleNamespace(arrived_s=1.0, deadline_s=60.0)
    sent: list[Any] = []

    async def scenario() -> None:
        requests, waiting = module.Requests(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if answer_first:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            waiting.set()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        serving = asyncio.create_task(
            module.Draining(app, requests)({"type": "http", "clock": clock}, None, send)
        )
        await waiting.wait()
        requests.give_up() if cancelled_by_us else serving.cancel()
        try:
            await serving
        except asyncio.CancelledError:
            sent.append("cancelled")
        assert not requests.running

    asyncio.run(scenario())
    return sent, clock


@pytest.mark.parametrize("name", SERVERS)
def test_a_request_that_is_given_up_is_told_so(name: str) -> None:
    sent, clock = given_up(name)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 503 and b"retry-after" in dict(sent[0]["headers"])
    assert clock.deadline_s == clock.arrived_s, "what works on it in a thread would go on"


@pytest.mark.parametrize("name", SERVERS)
def test_an_answer_that_has_begun_is_not_answered_again(name: str) -> None:
    sent, _ = given_up(name, answer_first=True)
    assert [message if isinstance(message, str) else message["status"] for message in sent] == [
        200,
        "cancelled",
    ]


@pytest.mark.parametrize("name", SERVERS)
def test_a_request_that_another_cancels_stays_cancelled(name: str) -> None:
    assert given_up(name, cancelled_by_us=False)[0] == ["cancelled"]
