"""Watches the clients of waiting requests, so that nothing is computed for one that has disconnected."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive

from .sequence import Request

# Clients are watched from the first of these moments that their request sees: most requests are answered
# before and pay for no task, and those that wait share one timer.
WATCH_INTERVAL_S = 0.05


class Disconnects:
    """Calls `on_disconnect` with a request whose client is gone. For the event loop alone."""

    def __init__(self, on_disconnect: Callable[[Request], None]) -> None:
        self._on_disconnect = on_disconnect
        self._unwatched: list[tuple[Request, Receive]] = []
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, request: Request, receive: Receive) -> None:
        """Watches a client by its ASGI `receive` from the next moment on, while the request is open."""
        self._unwatched.append((request, receive))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WATCH_INTERVAL_S, self._watch_all)

    def forget(self, request: Request) -> None:
        """The request has ended."""
        if request.disconnect_watch is not None:
            request.disconnect_watch.cancel()
            # Its traceback will hold the request: a cycle that only a collection would free.
            request.disconnect_watch = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _watch_all(self) -> None:
        self._timer = None
        for request, receive in self._unwatched:
            if request.open:
                watching = self._wait(request, receive)
                request.disconnect_watch = asyncio.get_running_loop().create_task(watching)
        self._unwatched.clear()

    async def _wait(self, request: Request, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._on_disconnect(request)
