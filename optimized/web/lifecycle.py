"""The server's life: loading, ready, draining. Models load in a thread, so /health answers at once."""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType
from typing import Any

import psutil
from fastapi import FastAPI, Request

from .draining import Requests
from .errors import NotReady
from .models import Models
from .stopping import give_up

log = logging.getLogger(__name__)


class Lifecycle:
    """Holds the models once they are loaded and warm; `state` is loading, ready, draining or failed."""

    def __init__(self, load: Callable[[], Models], requests: Requests, drain_timeout_s: float) -> None:
        self._load = load
        self._requests = requests
        self._drain_timeout_s = drain_timeout_s
        self._models: Models | None = None
        self.state = "loading"
        self.cold_start_s: float | None = None

    @asynccontextmanager
    async def run(self, app: FastAPI) -> AsyncIterator[None]:
        """The app's lifespan: loads in a thread, and marks draining at the first stop signal."""
        with self._draining_on_signal(asyncio.get_running_loop()):
            loading = asyncio.create_task(self._load_models(app))
            yield
            self.state = "draining"
            await asyncio.wait([loading])

    def models(self) -> Models:
        """The models; NotReady while there are none or the server is draining."""
        if self.state != "ready" or self._models is None:
            raise NotReady(f"not ready: {self.state}")
        return self._models

    async def _load_models(self, app: FastAPI) -> None:
        try:
            self._models = await asyncio.to_thread(self._load)
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

    def _drain(self) -> None:
        """Gives up what is not answered in time."""
        asyncio.get_running_loop().call_later(self._drain_timeout_s, self._requests.give_up)

    @contextmanager
    def _draining_on_signal(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Turns /ready to 503 the moment a stop is asked for, then lets the server's own handler act."""
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


def ready_models(request: Request) -> Models:
    """The models of the app that serves a request, or NotReady."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle.models()
