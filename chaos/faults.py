"""Faults in the engine and in Redis while requests come: one after the other, each noted with its time."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark.measure.redis_server import RedisProcess
from chaos.texts import POISON

TASKS = ("sentiment", "translation")
POLL_S = 0.01
LONGEST_WAIT_S = 20.0
# After a hang, what it held up is worked off.
AFTERMATH_S = 2.0
SWAPPED = 50


@dataclass(frozen=True)
class Window:
    """When a fault of the engine could strike requests of `task`; times by time.perf_counter()."""

    task: str
    start_s: float
    end_s: float


class Faults:
    """Strikes in a seeded order, over and over, until cancelled."""

    def __init__(
        self, folder: Path, stall_ms: int, longest_down_s: float, cache: RedisProcess | None, seed: int
    ) -> None:
        self.windows: list[Window] = []
        self.struck: Counter[str] = Counter()
        self._folder = folder
        self._stall_ms = stall_ms
        self._longest_down_s = longest_down_s
        self._cache = cache
        self._random = random.Random(f"faults/{seed}")
        self._number = 0
        for task, text in POISON.items():
            (folder / f"poison-{task}").write_text(text)

    @property
    def names(self) -> list[str]:
        """Each fault that a whole round holds."""
        found = [f"engine {what}s, {task}" for what in ("raise", "stall") for task in TASKS]
        if self._cache is not None:
            found += ["Redis killed", "Redis frozen", "Redis values swapped"]
        return found

    @property
    def missing(self) -> list[str]:
        """The faults that have not struck yet."""
        return [name for name in self.names if not self.struck[name]]

    async def run(self, pause_s: float) -> None:
        """Whole rounds of all faults, `pause_s` between any two."""
        while True:
            for name in sorted(self.names, key=lambda _: self._random.random()):
                await asyncio.sleep(pause_s)
                if await self._strike(name):
                    self.struck[name] += 1

    def mend(self) -> None:
        """Takes back what has not struck yet, and lets Redis go on."""
        for path in self._folder.glob("*-*-*"):
            path.unlink(missing_ok=True)
        if self._cache is not None:
            self._cache.thaw() if self._cache.running else self._cache.start()

    def excuse(self, task: str, start_s: float, end_s: float) -> bool:
        """Whether a fault of the engine could have failed a request of these times."""
        return any(
            window.task == task and window.start_s <= end_s and start_s <= window.end_s
            for window in self.windows
        )

    async def _strike(self, name: str) -> bool:
        match name.split():
            case ["engine", what, task]:
                await self._engine(what.rstrip("s,"), task)
            case ["Redis", "killed"]:
                await self._down(RedisProcess.kill, RedisProcess.start)
            case ["Redis", "frozen"]:
                await self._down(RedisProcess.freeze, RedisProcess.thaw)
            case ["Redis", *_]:
                return self._swap_values()
        return True

    async def _engine(self, what: str, task: str) -> None:
        """Arms a fault and returns once a run has taken it, and for a hang once that is over."""
        self._number += 1
        path = self._folder / f"{what}-{task}-{self._number}"
        # Renamed, so that no run sees it half written.
        draft = self._folder / "draft"
        draft.write_text(str(self._stall_ms))
        armed_s = time.perf_counter()
        draft.rename(path)
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                while path.exists():
                    await asyncio.sleep(POLL_S)
            if what == "stall":
                await asyncio.sleep(self._stall_ms / 1e3)
        finally:
            aftermath_s = AFTERMATH_S if what == "stall" else 0.0
            self.windows.append(Window(task, armed_s, time.perf_counter() + aftermath_s))

    async def _down(self, begin: Callable[[RedisProcess], None], end: Callable[[RedisProcess], None]) -> None:
        assert self._cache is not None
        begin(self._cache)
        try:
            await asyncio.sleep(self._random.uniform(0.2, self._longest_down_s))
        finally:
            end(self._cache)

    def _swap_values(self) -> bool:
        """Puts under each of some keys the value of another text, or what is no value at all."""
        assert self._cache is not None
        keys = self._cache.command("KEYS", "gap:*")[:SWAPPED]
        if not keys:
            return False
        values = [self._cache.command("GET", key) for key in keys]
        wrong = [*values[1:], b"\x00junk"]
        for key, value in zip(keys, wrong, strict=True):
            self._cache.command("SET", key, value or b"", "EX", "2")
        return True
