"""Who may wait: a queue bounded in requests and tokens, and deadlines that the measured speed can meet."""

import math
from collections import Counter
from typing import Protocol

from .batch_queue import BatchQueue
from .errors import NotReady, Overloaded

# What estimated work may fill of the time to a deadline: estimates err, and late work is lost work.
FILLED_SHARE = 0.6


class Cost(Protocol):
    """What the engines' work takes; `load` is what they are at, in the cost's own measure."""

    def needed_s(self, lengths: list[int], queue: BatchQueue, load: float) -> float: ...

    def drain_s(self, queue: BatchQueue) -> float: ...


class Admission:
    """Admits a request whole or refuses it at once, and counts the refusals by cause in `refused`."""

    def __init__(self, queue: BatchQueue, cost: Cost, queue_size: int, max_queue_tokens: int) -> None:
        self.queue = queue
        self.cost = cost
        self.queue_size = queue_size
        self.max_queue_tokens = max_queue_tokens
        self.draining = False
        self.refused: Counter[str] = Counter(queue_full=0, deadline_unmeetable=0, draining=0, no_engine=0)

    def refusal(self, remaining_s: float, load: float, expected: int = 0) -> NotReady | None:
        """What `check` would raise for a text as long as those that wait, before it is read; else None.

        `expected` requests were let in before it and do not wait yet.
        Under overload the queue is always nearly full. If whatever might just fit were read first, almost all
        would be tokenized only to be refused, and the shortest texts alone would be admitted.
        It is returned, not raised: a traceback and its frames are garbage that only a collection frees.
        """
        if not self.queue.texts:
            return self._out_of_bounds(0, expected)
        lengths = [self.queue.tokens // self.queue.texts] * (expected + 1)
        return self._out_of_bounds(sum(lengths), expected) or self._too_late(lengths, remaining_s, load)

    def check(self, lengths: list[int], remaining_s: float, load: float) -> None:
        """Admits a request with texts of `lengths` tokens and `remaining_s` to its deadline, or raises.

        `load` is what the engines are at, as the cost measures it.

        Raises:
            NotReady: the server is draining.
            Overloaded: the queue is full, or what is before the request leaves it too little time.
        """
        if refusal := self._out_of_bounds(sum(lengths)) or self._too_late(lengths, remaining_s, load):
            raise refusal

    def _out_of_bounds(self, tokens: int, expected: int = 0) -> NotReady | None:
        queue = self.queue
        if self.draining:
            self.refused["draining"] += 1
            return NotReady("not ready: draining")
        if queue.requests + expected >= self.queue_size:
            self.refused["queue_full"] += 1
            return Overloaded(f"{queue.requests} requests are waiting already", self.retry_after_s())
        if queue.texts and queue.tokens + tokens > self.max_queue_tokens:
            self.refused["queue_full"] += 1
            return Overloaded(f"{queue.tokens} tokens are waiting already", self.retry_after_s())
        return None

    def _too_late(self, lengths: list[int], remaining_s: float, load: float) -> NotReady | None:
        needed_s = self.cost.needed_s(lengths, self.queue, load)
        if needed_s <= remaining_s * (FILLED_SHARE if self.queue.texts else 1):
            return None
        self.refused["deadline_unmeetable"] += 1
        return Overloaded(
            f"the answer would take {needed_s * 1e3:.0f} ms, longer than the deadline allows",
            whole_seconds(needed_s - remaining_s),
        )

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, in which all that waits now will have had its turn."""
        return whole_seconds(self.cost.drain_s(self.queue))


def whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
