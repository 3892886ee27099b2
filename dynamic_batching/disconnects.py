"""Clients that hang up: those of waiting requests are watched, so that nobody computes what nobody reads."""

import asyncio
from collections.abc import Callable

from starlette.types import Receive

from .job import Job

# Clients are watched from the first of these moments that their request sees: most requests are answered
# before and pay for no task, and those that wait share one timer.
WATCH_INTERVAL_S = 0.05


class HangUps:
    """Calls `hung_up` with a job whose client is gone. For the event loop alone."""

    def __init__(self, hung_up: Callable[[Job], None]) -> None:
        self._hung_up = hung_up
        self._unwatched: list[tuple[Job, Receive]] = []
        self._next_look: asyncio.TimerHandle | None = None

    def watch(self, job: Job, receive: Receive) -> None:
        """Watches the job's client by its ASGI `receive` from the next moment on, while the job is open."""
        self._unwatched.append((job, receive))
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(WATCH_INTERVAL_S, self._look)

    def forget(self, job: Job) -> None:
        """The job has ended."""
        if job.watch is not None:
            job.watch.cancel()
            # Its traceback will hold the job: a cycle that only a collection would free.
            job.watch = None

    def close(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()

    def _look(self) -> None:
        self._next_look = None
        for job, receive in self._unwatched:
            if job.open:
                job.watch = asyncio.get_running_loop().create_task(self._wait(job, receive))
        self._unwatched.clear()

    async def _wait(self, job: Job, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._hung_up(job)
