"""The server's life: models load in the background, so that /health answers at once, until it is ready."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
from prometheus_client import Gauge

from .engine import Engine, awaitable
from .errors import Refusal

log = logging.getLogger(__name__)


class Lifecycle:
    """`state` is loading or ready; the engine may be asked once it is ready."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state = "loading"
        name, text = "gap_cold_start_seconds", "From the process's start to ready"
        self._cold_start = Gauge(name, text, registry=engine.registry)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Loads the engine, and closes it once the server has answered or cancelled every request."""
        loading = asyncio.create_task(self._load())
        yield
        await asyncio.wait([loading])
        await awaitable(self.engine.close)()

    def refusal(self) -> Refusal | None:
        """Why the server is not ready."""
        problem = self.engine.unready() if self.state == "ready" else self.state
        return Refusal(f"not ready: {problem}") if problem else None

    async def _load(self) -> None:
        try:
            await awaitable(self.engine.load)()
        except Exception as error:
            # A server without models can do nothing; its end says so to whoever supervises it.
            log.error("models cannot be loaded: %s", error)
            logging.shutdown()
            os._exit(1)
        cold_start_s = time.time() - psutil.Process().create_time()
        self._cold_start.set(cold_start_s)
        log.info("Model loaded! Cold start %.2f s", cold_start_s)
        self.state = "ready"
