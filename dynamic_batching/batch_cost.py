"""What a batch takes, learned from those that ran: a request's wait is estimated by it."""

import math

from .batch_queue import BatchQueue
from .job import Batch

NEWEST_WEIGHT = 0.2
LARGEST_RUN_COST_TOKENS = 10_000.0
Measured = tuple[int, float]


class BatchCost:
    """What a run takes: seconds for each token, and for a fixed cost counted in tokens as well.

    Warm-up measures both, from a small and a large batch; every finished batch then moves the seconds per
    token, an exponentially weighted mean. `fastest_s` is the least per token ever measured.
    """

    def __init__(self, engines: int) -> None:
        self.engines = engines
        self.run_cost_tokens = 0.0
        self.token_s = 0.0
        self.fastest_s = math.inf

    def seed(self, measured: list[Measured]) -> None:
        """Measured runs, (tokens, seconds) each: the line through the first and the last."""
        (few, short_s), (many, long_s) = measured[0], measured[-1]
        self.run_cost_tokens = LARGEST_RUN_COST_TOKENS
        if long_s > short_s and many > few:
            fixed = (short_s * many - long_s * few) / (long_s - short_s)
            self.run_cost_tokens = min(max(fixed, 0.0), LARGEST_RUN_COST_TOKENS)
        self.token_s = self.fastest_s = long_s / (self.run_cost_tokens + many)

    def observe(self, batch: Batch) -> None:
        """A finished run; one that was repeated text by text tells nothing."""
        if not batch.retried:
            token_s = batch.duration_s / (self.run_cost_tokens + batch.tokens)
            self.token_s += NEWEST_WEIGHT * (token_s - self.token_s)
            self.fastest_s = min(self.fastest_s, token_s)

    def seconds(self, runs: float, tokens: int) -> float:
        """What `runs` runs over `tokens` tokens take one after the other, by the mean."""
        return (runs * self.run_cost_tokens + tokens) * self.token_s

    def least_run_s(self, queue: BatchQueue) -> float:
        """What the next run takes at the least, as fast as one ever was."""
        return (self.run_cost_tokens + min(queue.tokens, queue.max_batch_tokens)) * self.fastest_s

    def needed_s(self, lengths: list[int], queue: BatchQueue, busy_s: float) -> float:
        """Seconds until the answer to texts of `lengths` that come now, at the least that can be expected.

        `busy_s` is how long all engines will yet be busy with what they run.
        """
        texts, tokens = len(lengths), sum(lengths)
        if not queue.texts and not busy_s:
            # The mean may stem from a bad minute; nothing runs that would correct it, so it refuses nobody.
            return (self.run_cost_tokens * runs(queue, texts, tokens) + tokens) * self.fastest_s
        texts, tokens = texts + queue.texts, tokens + queue.tokens
        return busy_s + self.seconds(runs(queue, texts, tokens), tokens) / self.engines

    def drain_s(self, queue: BatchQueue) -> float:
        """Seconds in which all that waits now will have been run."""
        return self.seconds(runs(queue, queue.texts, queue.tokens), queue.tokens) / self.engines


def runs(queue: BatchQueue, texts: int, tokens: int) -> int:
    return math.ceil(max(texts / queue.max_batch_size, tokens / queue.max_batch_tokens))
