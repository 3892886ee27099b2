"""The load of a comparison: users in a closed loop, and the figures of what they are answered."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from benchmark.stats.figures import percentile_ms
from demo.http_client import Answer, Connection, NoAnswer
from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import InputsExhausted, Sample


@dataclass(frozen=True)
class Figures:
    """What a window holds so far; a percentile below its sample floor is None."""

    elapsed_s: float
    answers: int
    failures: int
    cache_hits: int
    rps: float | None
    p50_ms: float | None
    p95_ms: float | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Window:
    """The answers that arrive within `seconds` from `opened_s` on, by the clock of the load."""

    opened_s: float
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    failures: int = 0
    cache_hits: int = 0

    def add(self, sent_s: float, answered_s: float, *, failed: bool, cache_hit: bool) -> None:
        """Counts an answer by the moment it arrived; a failed one has no latency."""
        if not 0 <= answered_s - self.opened_s < self.seconds:
            return
        if failed:
            self.failures += 1
            return
        self.latencies_ms.append((answered_s - sent_s) * 1e3)
        self.cache_hits += cache_hit

    def figures(self, now_s: float) -> Figures:
        elapsed_s = min(now_s - self.opened_s, self.seconds)
        answers = len(self.latencies_ms)
        latencies_ms = pd.Series(self.latencies_ms, dtype=float)
        rps = answers / elapsed_s if elapsed_s > 0 else None
        p50_ms, p95_ms = (percentile_ms(latencies_ms, percentile) for percentile in (50, 95))
        return Figures(elapsed_s, answers, self.failures, self.cache_hits, rps, p50_ms, p95_ms)


class Load:
    """Users of one server: each sends its next text as soon as the last one is answered."""

    def __init__(
        self, url: str, task: str, users: int, samples: Iterator[Sample], check_labels: bool
    ) -> None:
        self._url, self._task, self._samples = url, task, samples
        self._check_labels = check_labels
        self._leaving = False
        self._window: Window | None = None
        self.users_without_answer = users
        self._users = [asyncio.create_task(self._use()) for _ in range(users)]

    @property
    def active_users(self) -> int:
        """Users that wait for an answer or will send another text."""
        return sum(not user.done() for user in self._users)

    def check(self) -> None:
        """Raises InputsExhausted where a user found no text left."""
        for user in self._users:
            if user.done():
                user.result()

    def open_window(self, seconds: float) -> None:
        self._window = Window(time.perf_counter(), seconds)

    def figures(self) -> Figures | None:
        """None before the window is opened."""
        return None if self._window is None else self._window.figures(time.perf_counter())

    def leave(self) -> None:
        """Each user ends with the answer that it waits for."""
        self._leaving = True

    async def end(self, limit_s: float) -> None:
        """Waits for the last answers up to `limit_s`.

        A server goes on with the requests of a client that disconnects, at the cost of what is asked next.
        """
        self.leave()
        await asyncio.wait(self._users, timeout=limit_s)

    def disconnect(self) -> None:
        """Ends all users, whatever they wait for."""
        for user in self._users:
            user.cancel()

    async def _use(self) -> None:
        first = True
        try:
            with await Connection.open(self._url) as connection:
                while not self._leaving:
                    sample = next(self._samples, None)
                    if sample is None:
                        raise InputsExhausted(f"all unique {self._task} texts are used; start the demo again")
                    sent_s = time.perf_counter()
                    answer = await connection.post(route(self._task, False), request_body([sample], False))
                    self._record(sample, sent_s, answer)
                    self.users_without_answer -= first
                    first = False
        except NoAnswer:
            if self._window is not None:
                now_s = time.perf_counter()
                self._window.add(now_s, now_s, failed=True, cache_hit=False)

    def _record(self, sample: Sample, sent_s: float, answer: Answer) -> None:
        answered_s = time.perf_counter()
        if self._window is None:
            return
        received = (answer.status, answer.content)
        wrong = problem(self._task, *received, [sample], batch=False, check_labels=self._check_labels)
        hit = answer.headers.get("x-cache") == "hit"
        self._window.add(sent_s, answered_s, failed=wrong is not None, cache_hit=hit)
