"""The engines of one batcher: started and warm together, watched, and replaced where one hangs or ends."""

import asyncio
import logging
from typing import Protocol

from .engine import Engine, Owner
from .job import Text

log = logging.getLogger(__name__)

# A model that hangs every engine it gets is given up, or each would leave a thread behind that burns a core.
MAX_LOST_ENGINES = 3
JOIN_TIMEOUT_S = 1.0


class Loser(Owner, Protocol):
    """An owner that makes the engines, and is told on the event loop what one was at when it was lost."""

    def make_engine(self, name: str) -> Engine: ...

    def on_lost(self, texts: list[Text]) -> None: ...


class EnginePool:
    """`engines` are those at work; fewer than `size` once the model is given up. For the event loop."""

    def __init__(self, owner: Loser, name: str, size: int, stall_s: float) -> None:
        self.engines: list[Engine] = []
        self.size = size
        self._owner = owner
        self._name = name
        self._stall_s = stall_s
        self._lost_in_a_row = 0
        self._check: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Starts the engines and waits until all are warm; RuntimeError where a warm-up fails or hangs."""
        self._loop = asyncio.get_running_loop()
        self._warm: asyncio.Future[None] = self._loop.create_future()
        for _ in range(self.size):
            self._start_engine()
        await self._warm

    def healthy(self) -> bool:
        """Whether every engine is warm, alive, and not at one run for longer than `stall_s`."""
        now_s = self._owner.clock_s()
        return len(self.engines) == self.size and all(
            engine.warm and engine.thread.is_alive() and not self._stalled(engine, now_s)
            for engine in self.engines
        )

    def watch(self) -> None:
        """Sees to it that an engine which hangs from now on is noticed, within twice `stall_s`."""
        if self._check is None:
            self._check = self._loop.call_later(self._stall_s, self.check)

    def check(self) -> None:
        """Replaces the engines that hang, and looks again later while there is work."""
        self._check = None
        for engine in list(self.engines):
            # Under the lock an engine takes nothing else, which would be lost with it.
            with self._owner.work:
                engine.retired = self._stalled(engine, self._owner.clock_s())
            if engine.retired:
                self._replace(engine, f"hangs for {self._stall_s:g} s", None)
        if self._owner.queue.texts or any(
            engine.busy_since_s() is not None or not engine.warm for engine in self.engines
        ):
            self.watch()

    def note_warm(self, engine: Engine) -> None:
        engine.warm = True
        if not self._warm.done() and all(engine.warm for engine in self.engines):
            self._warm.set_result(None)

    def note_done(self) -> None:
        """An answer came back, so the model does not hang on everything."""
        self._lost_in_a_row = 0

    def note_ended(self, engine: Engine, error: BaseException | None) -> None:
        if not engine.retired:
            engine.retired = True
            self._replace(engine, f"has ended ({error!r})", error)

    def close(self) -> None:
        """Ends the engines; one that hangs is left behind."""
        if self._check is not None:
            self._check.cancel()
        with self._owner.work:
            for engine in self.engines:
                engine.retired = True
            self._owner.work.notify_all()
        for engine in self.engines:
            engine.thread.join(JOIN_TIMEOUT_S)

    def _start_engine(self) -> None:
        engine = self._owner.make_engine(f"{self._name}-engine")
        self.engines.append(engine)
        engine.thread.start()
        self.watch()

    def _stalled(self, engine: Engine, now_s: float) -> bool:
        since_s = engine.busy_since_s()
        return since_s is not None and now_s - since_s >= self._stall_s

    def _replace(self, engine: Engine, what: str, error: BaseException | None) -> None:
        log.error("the %s engine %s", self._name, what, exc_info=error)
        self.engines.remove(engine)
        if not self._warm.done():
            self._warm.set_exception(RuntimeError(f"the {self._name} engine {what}"))
            return
        self._lost_in_a_row += 1
        if self._lost_in_a_row < MAX_LOST_ENGINES:
            self._start_engine()
        self._owner.on_lost(engine.texts)
