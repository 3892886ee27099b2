"""Injects faults into the engine and Redis during a run, one at a time, and records when."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from benchmark.measure.redis_server import RedisProcess
from chaos.plan import Plan

# The model raises an error on these texts; no other text resembles them.
POISON_TEXTS = {
    "translation": "Nobody can translate this one here.",
    "sentiment": "nobody can judge this one here",
}
POLL_S = 0.01
INJECTION_TIMEOUT_S = 20.0
# After a stall, the requests that queued behind it are still late.
RECOVERY_S = 2.0
MIN_OUTAGE_S = 0.2
SWAPPED_KEYS = 50


class FaultInjector:
    """Injects every fault in a seeded order, again and again, until cancelled."""

    def __init__(self, folder: Path, plan: Plan, redis: RedisProcess | None) -> None:
        self.injected: Counter[str] = Counter()
        self._folder = folder
        self._plan = plan
        # A task, and from when to when an engine fault could affect its requests.
        self._windows: list[tuple[str, float, float]] = []
        self._random = random.Random(f"faults/{plan.seed}")
        self._faults: dict[str, Callable[[], Awaitable[bool]]] = {
            f"engine {kind}s, {task}": partial(self._engine_fault, kind, task)
            for kind in ("raise", "stall")
            for task in POISON_TEXTS
        }
        if redis is not None:
            freeze, thaw = (partial(redis.send_signal, number) for number in (signal.SIGSTOP, signal.SIGCONT))
            self._faults |= {
                "Redis killed": partial(self._redis_outage, redis.kill, redis.start),
                "Redis frozen": partial(self._redis_outage, freeze, thaw),
                "Redis values swapped": partial(self._swap_redis_values, redis),
            }
        for task, text in POISON_TEXTS.items():
            (folder / f"poison-{task}").write_text(text)

    @property
    def missing(self) -> list[str]:
        """The faults that have not been injected yet."""
        return [name for name in self._faults if not self.injected[name]]

    async def run(self) -> None:
        while True:
            for name in sorted(self._faults, key=lambda _: self._random.random()):
                await asyncio.sleep(self._plan.fault_interval_s)
                self.injected[name] += await self._faults[name]()

    def recover(self) -> None:
        """Withdraws pending faults."""
        for path in self._folder.glob("*-*-*"):
            path.unlink(missing_ok=True)

    def overlaps(self, task: str, start_s: float, end_s: float) -> bool:
        """Whether a fault of the engine could affect a request between these times."""
        return any(
            task == faulty_task and fault_start_s <= end_s and start_s <= fault_end_s
            for faulty_task, fault_start_s, fault_end_s in self._windows
        )

    async def _engine_fault(self, kind: str, task: str) -> bool:
        """Returns once an engine run has taken the fault, and for a stall once it is over."""
        path = self._folder / f"{kind}-{task}-{len(self._windows)}"
        # Renamed into place, so that no engine run reads a file that is half written.
        draft = self._folder / "draft"
        draft.write_text(str(self._plan.stall_ms))
        start_s = time.perf_counter()
        draft.rename(path)
        try:
            async with asyncio.timeout(INJECTION_TIMEOUT_S):
                while path.exists():
                    await asyncio.sleep(POLL_S)
            if kind == "stall":
                await asyncio.sleep(self._plan.stall_ms / 1e3)
        finally:
            recovery_s = RECOVERY_S if kind == "stall" else 0.0
            self._windows.append((task, start_s, time.perf_counter() + recovery_s))
        return True

    async def _redis_outage(self, begin: Callable[[], None], end: Callable[[], None]) -> bool:
        begin()
        try:
            await asyncio.sleep(self._random.uniform(MIN_OUTAGE_S, self._plan.max_redis_outage_s))
        finally:
            end()
        return True

    async def _swap_redis_values(self, redis: RedisProcess) -> bool:
        """Stores under some keys the value of another text, and under one what is not a value at all."""
        keys = redis.command("KEYS", "gap:*")[:SWAPPED_KEYS]
        values = [redis.command("GET", key) for key in keys[1:]]
        for key, value in zip(keys, [*values, b"\x00junk"], strict=False):
            redis.command("SET", key, value or b"", "EX", "2")
        return bool(keys)
