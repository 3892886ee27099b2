"""The workers of one scheduler: started and warm together, watched, and replaced where one hangs or ends."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic

from fastapi import HTTPException

from .latency_model import Report
from .queue import RequestQueue
from .sequence import Sequence
from .worker import Worker

log = logging.getLogger(__name__)

# A model that hangs every worker it gets is given up, or each would leave a thread behind that burns a core.
MAX_LOST_WORKERS = 3
JOIN_TIMEOUT_S = 1.0


class WorkerLost(HTTPException):
    """500: the worker that had the request hangs or has ended; logged once, where that is noticed."""

    def __init__(self) -> None:
        super().__init__(500, "internal server error")


class WorkerPool(Generic[Report]):
    """`workers` are those at work; fewer than `size` once the model is given up. `lost` counts the others.

    For the event loop.
    """

    def __init__(
        self,
        name: str,
        size: int,
        stall_s: float,
        queue: RequestQueue,
        make_worker: Callable[[str], Worker[Report]],
        on_lost: Callable[[list[Sequence]], None],
        clock_s: Callable[[], float],
    ) -> None:
        """A worker at one run for longer than `stall_s` hangs; `on_lost` gets what a lost one was at."""
        self.workers: list[Worker[Report]] = []
        self.size = size
        self.lost = 0
        # Called with the reason when the model is given up.
        self.on_given_up: Callable[[str], None] = lambda problem: None
        self._name = name
        self._stall_s = stall_s
        self._queue = queue
        self._make_worker = make_worker
        self._on_lost = on_lost
        self._clock_s = clock_s
        self._lost_in_a_row = 0
        self._check: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Starts the workers and waits until all are warm; RuntimeError where a warm-up fails or hangs."""
        self._loop = asyncio.get_running_loop()
        self._warm: asyncio.Future[None] = self._loop.create_future()
        for _ in range(self.size):
            self._start_worker()
        await self._warm

    def healthy(self) -> bool:
        """Whether every worker is warm, alive, and does not hang."""
        now_s = self._clock_s()
        return len(self.workers) == self.size and all(
            worker.warm and worker.thread.is_alive() and not self._stalled(worker, now_s)
            for worker in self.workers
        )

    def watch(self) -> None:
        """Sees to it that a worker which hangs from now on is noticed, within twice `stall_s`."""
        if self._check is None:
            self._check = self._loop.call_later(self._stall_s, self.check)

    def check(self) -> None:
        """Replaces the workers that hang, and looks again later while there is work."""
        self._check = None
        for worker in [*self.workers]:
            # Under the lock a worker schedules nothing else, which would be lost with it.
            with self._queue.lock:
                worker.retired = self._stalled(worker, self._clock_s())
                if worker.retired:
                    # One that hangs in the background waits here as well: the next wake-up is not for it.
                    self._queue.lock.notify_all()
            if worker.retired:
                self._replace(worker, f"hangs for {self._stall_s:g} s", None)
        if self._queue.sequences or any(
            worker.busy_since_s() is not None or not worker.warm for worker in self.workers
        ):
            self.watch()

    def note_warm(self, worker: Worker[Report]) -> None:
        worker.warm = True
        if not self._warm.done() and all(worker.warm for worker in self.workers):
            self._warm.set_result(None)

    def note_done(self) -> None:
        """An answer came back, so the model does not hang on everything."""
        self._lost_in_a_row = 0

    def note_exit(self, worker: Worker[Report], error: BaseException | None) -> None:
        if not worker.retired:
            worker.retired = True
            self._replace(worker, f"has ended ({error!r})", error)

    def close(self) -> None:
        """Ends the workers; one that hangs is left behind."""
        if self._check is not None:
            self._check.cancel()
        with self._queue.lock:
            for worker in self.workers:
                worker.retired = True
            self._queue.lock.notify_all()
        for worker in self.workers:
            worker.thread.join(JOIN_TIMEOUT_S)

    def _start_worker(self) -> None:
        worker = self._make_worker(f"{self._name}-worker")
        self.workers.append(worker)
        worker.thread.start()
        self.watch()

    def _stalled(self, worker: Worker[Report], now_s: float) -> bool:
        since_s = worker.busy_since_s()
        return since_s is not None and now_s - since_s >= self._stall_s

    def _replace(self, worker: Worker[Report], what: str, error: BaseException | None) -> None:
        log.error("the %s worker %s", self._name, what, exc_info=error)
        self.workers.remove(worker)
        if not self._warm.done():
            self._warm.set_exception(RuntimeError(f"the {self._name} worker {what}"))
            return
        self.lost += 1
        self._lost_in_a_row += 1
        if self._lost_in_a_row < MAX_LOST_WORKERS:
            self._start_worker()
        self._on_lost(worker.sequences)
        if self._lost_in_a_row == MAX_LOST_WORKERS:
            self.on_given_up(f"{MAX_LOST_WORKERS} {self._name} workers in a row hung or ended")
