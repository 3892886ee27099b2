"""Decides which requests may wait: a queue bounded in requests and tokens, deadlines that can be met."""

import math
from collections import Counter
from typing import Any

from .latency_model import LatencyModel, Load
from .queue import RequestQueue
from .web.errors import Refusal

# What estimated work may fill of the time to a deadline: estimates err, and late work is lost work.
MAX_DEADLINE_SHARE = 0.6


class Admission:
    """Admits a request whole or refuses it at once, and counts the refusals by cause in `refused`.

    A refusal is returned, not raised: a traceback and its frames are garbage that only a collection frees.
    """

    def __init__(
        self, queue: RequestQueue, latency: LatencyModel[Any], queue_size: int, max_queue_tokens: int
    ) -> None:
        self.queue = queue
        self.latency = latency
        self.queue_size = queue_size
        self.max_queue_tokens = max_queue_tokens
        self.refused: Counter[str] = Counter(queue_full=0, deadline_unmeetable=0, no_worker=0)

    def refusal_at_header(self, remaining_s: float, load: Load, expected: int = 0) -> Refusal | None:
        """Why a request is not read: the `refusal` of one like those that wait.

        `expected` requests were let in before it and do not wait yet. Under overload the queue is always
        nearly full. If whatever might just fit were read first, almost all would be tokenized only to be
        refused, and the shortest texts alone would be admitted.
        """
        if not self.queue.sequences:
            return self._full(0, expected)
        lengths = [self.queue.tokens // self.queue.sequences] * (expected + 1)
        return self._full(sum(lengths), expected) or self._late(lengths, remaining_s, load)

    def refusal(self, lengths: list[int], remaining_s: float, load: Load) -> Refusal | None:
        """Why a request with sequences of `lengths` tokens and `remaining_s` to its deadline may not wait."""
        return self._full(sum(lengths)) or self._late(lengths, remaining_s, load)

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, in which all that waits now will have had its turn."""
        return whole_seconds(self.latency.drain_s(self.queue))

    def _full(self, tokens: int, expected: int = 0) -> Refusal | None:
        queue = self.queue
        if queue.requests + expected >= self.queue_size:
            waiting = f"{queue.requests} requests"
        elif queue.sequences and queue.tokens + tokens > self.max_queue_tokens:
            waiting = f"{queue.tokens} tokens"
        else:
            return None
        self.refused["queue_full"] += 1
        return Refusal(f"{waiting} are waiting already", self.retry_after_s())

    def _late(self, lengths: list[int], remaining_s: float, load: Load) -> Refusal | None:
        needed_s = self.latency.needed_s(lengths, self.queue, load)
        if needed_s <= remaining_s * (MAX_DEADLINE_SHARE if self.queue.sequences else 1):
            return None
        self.refused["deadline_unmeetable"] += 1
        message = f"the answer would take {needed_s * 1e3:.0f} ms, longer than the deadline allows"
        return Refusal(message, whole_seconds(needed_s - remaining_s))


def whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
