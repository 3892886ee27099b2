"""Who may wait: a queue bounded in requests and tokens, and deadlines that the measured speed can meet."""

import math
from collections import Counter

from .batch_queue import BatchQueue
from .errors import NotReady, Overloaded

NEWEST_WEIGHT = 0.2
LARGEST_RUN_COST_TOKENS = 10_000.0
# What estimated work may fill of the time to a deadline: estimates err, and late work is lost work.
FILLED_SHARE = 0.8


class CostModel:
    """What a run takes: seconds for each token, and for a fixed cost counted in tokens as well.

    Warm-up measures both, from a small and a large batch; every finished batch then moves the seconds per
    token, an exponentially weighted mean. `fastest_s` is the least per token ever measured.
    """

    def __init__(self) -> None:
        self.run_cost_tokens = 0.0
        self.token_s = 0.0
        self.fastest_s = math.inf

    def seed(self, small: tuple[int, float], large: tuple[int, float]) -> None:
        """Two measured runs, (tokens, seconds) each: the line through both."""
        (few, short_s), (many, long_s) = small, large
        self.run_cost_tokens = LARGEST_RUN_COST_TOKENS
        if long_s > short_s and many > few:
            fixed = (short_s * many - long_s * few) / (long_s - short_s)
            self.run_cost_tokens = min(max(fixed, 0.0), LARGEST_RUN_COST_TOKENS)
        self.token_s = self.fastest_s = long_s / (self.run_cost_tokens + many)

    def observe(self, tokens: int, duration_s: float) -> None:
        """A finished run."""
        token_s = duration_s / (self.run_cost_tokens + tokens)
        self.token_s += NEWEST_WEIGHT * (token_s - self.token_s)
        self.fastest_s = min(self.fastest_s, token_s)

    def seconds(self, runs: float, tokens: int) -> float:
        """What `runs` runs over `tokens` tokens take one after the other, by the mean."""
        return (runs * self.run_cost_tokens + tokens) * self.token_s


class Admission:
    """Admits a request whole or refuses it at once, and counts the refusals by cause in `refused`."""

    def __init__(
        self, queue: BatchQueue, cost: CostModel, engines: int, queue_size: int, max_queue_tokens: int
    ) -> None:
        self.queue = queue
        self.cost = cost
        self.engines = engines
        self.queue_size = queue_size
        self.max_queue_tokens = max_queue_tokens
        self.draining = False
        self.refused: Counter[str] = Counter(queue_full=0, deadline_unmeetable=0, draining=0, no_engine=0)

    def check_open(self, remaining_s: float, busy_s: float) -> None:
        """Raises what `check` would raise for any request, before its texts cost any work.

        Raises:
            NotReady: the server is draining.
            Overloaded: as many requests wait as may, or too many to be answered in `remaining_s`.
        """
        if self.draining:
            self.refused["draining"] += 1
            raise NotReady("not ready: draining")
        if self.queue.requests >= self.queue_size:
            self.refused["queue_full"] += 1
            raise Overloaded(f"{self.queue.requests} requests are waiting already", self.retry_after_s())
        if self.queue.texts:
            self._check_deadline(1, 1, remaining_s, busy_s)

    def check(self, lengths: list[int], remaining_s: float, busy_s: float) -> None:
        """Admits a request with texts of `lengths` tokens and `remaining_s` to its deadline, or raises.

        `busy_s` is how long the engines will yet be busy with what they run.

        Raises:
            NotReady: the server is draining.
            Overloaded: the queue is full, or what is before the request leaves it too little time.
        """
        self.check_open(remaining_s, busy_s)
        tokens = sum(lengths)
        if self.queue.texts and self.queue.tokens + tokens > self.max_queue_tokens:
            self.refused["queue_full"] += 1
            raise Overloaded(f"{self.queue.tokens} tokens are waiting already", self.retry_after_s())
        self._check_deadline(len(lengths), tokens, remaining_s, busy_s)

    def _check_deadline(self, texts: int, tokens: int, remaining_s: float, busy_s: float) -> None:
        needed_s = self.needed_s(texts, tokens, busy_s)
        if needed_s > remaining_s * (FILLED_SHARE if self.queue.texts else 1):
            self.refused["deadline_unmeetable"] += 1
            raise Overloaded(
                f"the answer would take {needed_s * 1e3:.0f} ms, longer than the deadline allows",
                whole_seconds(needed_s - remaining_s),
            )

    def needed_s(self, texts: int, tokens: int, busy_s: float) -> float:
        """Seconds until the answer to a request that comes now, at the least that can be expected."""
        if not self.queue.texts and not busy_s:
            # The mean may stem from a bad minute; nothing runs that would correct it, so it refuses nobody.
            return (self.cost.run_cost_tokens * self._runs(texts, tokens) + tokens) * self.cost.fastest_s
        texts, tokens = texts + self.queue.texts, tokens + self.queue.tokens
        return busy_s + self.cost.seconds(self._runs(texts, tokens), tokens) / self.engines

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, in which all that waits now will have been run."""
        waiting_s = self.cost.seconds(self._runs(self.queue.texts, self.queue.tokens), self.queue.tokens)
        return whole_seconds(waiting_s / self.engines)

    def _runs(self, texts: int, tokens: int) -> int:
        return math.ceil(max(texts / self.queue.max_batch_size, tokens / self.queue.max_batch_tokens))


def whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
