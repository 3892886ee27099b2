"""The server's life: loading, ready, draining. Models load in the background, so /health answers at once."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
from prometheus_client import Gauge

from .engine import Engine, awaitable
from .errors import Refusal

log = logging.getLogger(__name__)


class Lifecycle:
    """`state` is loading, ready or draining; the engine may be asked while it is ready."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.state = "loading"
        text = "From the process's start to ready"
        self._cold_start = Gauge("gap_cold_start_seconds", text, registry=engine.registry)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Loads the engine, and closes it once the server has answered or cancelled every request."""
        loading = asyncio.create_task(self._load())
        yield
        self.state = "draining"
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
            end_process(1)
        cold_start_s = time.time() - psutil.Process().create_time()
        self._cold_start.set(cold_start_s)
        log.info("Model loaded! Cold start %.2f s", cold_start_s)
        if self.state == "loading":
            self.state = "ready"


def end_process(code: int) -> None:
    """Ends the process at once: a thread that hangs must not keep it from ending."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
