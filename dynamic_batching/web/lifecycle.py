"""The server's life: loading, ready, draining. Models load in a thread, so /health answers at once."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import psutil
from fastapi import FastAPI, Request

from .batcher import Batcher
from .batchers import Batchers
from .draining import Requests
from .errors import NotReady
from .stopping import give_up

log = logging.getLogger(__name__)


class Lifecycle:
    """Holds the batchers once their engines are warm; `state` is loading, ready, draining or failed."""

    def __init__(
        self, load: Callable[[], Awaitable[Batchers]], requests: Requests, drain_timeout_s: float
    ) -> None:
        self._load = load
        self._requests = requests
        self._drain_timeout_s = drain_timeout_s
        self._batchers: Batchers | None = None
        self.state = "loading"
        self.cold_start_s: float | None = None

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        """The app's lifespan: loads, and drains from the first stop signal on."""
        with self._draining_on_signal(asyncio.get_running_loop()):
            loading = asyncio.create_task(self._load_models(app))
            yield
            self.state = "draining"
            await asyncio.wait([loading])
            if self._batchers is not None:
                self._batchers.close()

    def batchers(self) -> Batchers:
        """The batchers, which refuse by themselves while the server drains; NotReady while there are none."""
        if self._batchers is None:
            raise NotReady(f"not ready: {self.state}")
        return self._batchers

    def batcher(self, task: str) -> Batcher:
        """The task's batcher, or NotReady while there is none."""
        found: Batcher = getattr(self.batchers(), task)
        return found

    def check_ready(self) -> None:
        """Raises NotReady while models load, an engine hangs or is being replaced, or the server drains."""
        if self.state != "ready":
            raise NotReady(f"not ready: {self.state}")
        if unhealthy := self.batchers().unhealthy():
            raise NotReady(f"not ready: the {unhealthy} engine does not work")

    async def _load_models(self, app: FastAPI) -> None:
        try:
            self._batchers = await self._load()
        except Exception as error:
            # A server without models can do nothing; stopping says so to whoever supervises it.
            log.error("models cannot be loaded: %s", error)
            self.state = "failed"
            give_up()
            return
        self.cold_start_s = time.time() - psutil.Process().create_time()
        app.state.metrics.cold_start.set(self.cold_start_s)
        log.info("Model loaded! Cold start %.2f s", self.cold_start_s)
        if self.state == "loading":
            self.state = "ready"
        else:
            self._drain()

    def _drain(self) -> None:
        """Admits nothing from now on; gives up what is not answered in time, a body that never ends too."""
        if self._batchers is not None:
            self._batchers.drain(self._drain_timeout_s)
        asyncio.get_running_loop().call_later(self._drain_timeout_s, self._requests.give_up)

    @contextmanager
    def _draining_on_signal(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Admits nothing from the moment a stop is asked for, and lets the server's own handler act."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous: dict[int, Any] = {}

        def drain(number: int, frame: FrameType | None) -> None:
            if self.state != "failed":
                self.state = "draining"
            loop.call_soon_threadsafe(self._drain)
            if callable(previous[number]):
                previous[number](number, frame)

        for stop in (signal.SIGTERM, signal.SIGINT):
            previous[stop] = signal.signal(stop, drain)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def ready_batchers(request: Request) -> Batchers:
    """The batchers of the app that serves a request, or NotReady."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle.batchers()
