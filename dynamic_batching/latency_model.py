"""How long requests will take, learned from what ran: what admission decides by."""

import math
from typing import NamedTuple, Protocol, TypeVar

from .queue import RequestQueue
from .sequence import Batch, Steps

BATCH_EWMA_ALPHA = 0.2
STEPS_EWMA_ALPHA = 0.1
MAX_RUN_COST_TOKENS = 10_000.0
Report = TypeVar("Report")


class Load(NamedTuple):
    """What all workers are at: seconds until the first of them is free, and how many slots are occupied."""

    free_in_s: float
    slots: int


class LatencyModel(Protocol[Report]):
    """Estimates waits; `seed` is given what warm-up measured, few sequences first, `observe` each report."""

    def seed(self, measured: list[Report]) -> None: ...

    def observe(self, report: Report) -> None: ...

    def needed_s(self, lengths: list[int], queue: RequestQueue, load: Load) -> float:
        """Seconds until the answer to sequences of `lengths` tokens that come now, at the least."""

    def drain_s(self, queue: RequestQueue) -> float:
        """Seconds in which all that waits now will have had its turn."""


class BatchLatencyModel:
    """What a run takes: seconds for each token, and for a fixed cost counted in tokens as well.

    Warm-up measures both, from a small and a large batch; every finished batch then moves the seconds per
    token, an exponentially weighted mean. `fastest_s` is the least per token ever measured.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.run_cost_tokens = 0.0
        self.token_s = 0.0
        self.fastest_s = math.inf

    def seed(self, measured: list[Batch]) -> None:
        """The line through the first and the last of the measured runs."""
        small, large = measured[0], measured[-1]
        self.run_cost_tokens = MAX_RUN_COST_TOKENS
        if large.duration_s > small.duration_s and large.tokens > small.tokens:
            fixed = small.duration_s * large.tokens - large.duration_s * small.tokens
            fixed /= large.duration_s - small.duration_s
            self.run_cost_tokens = min(max(fixed, 0.0), MAX_RUN_COST_TOKENS)
        self.token_s = self.fastest_s = large.duration_s / (self.run_cost_tokens + large.tokens)

    def observe(self, report: Batch) -> None:
        """A finished run; one that was repeated text by text tells nothing."""
        if not report.retried:
            token_s = report.duration_s / (self.run_cost_tokens + report.tokens)
            self.token_s += BATCH_EWMA_ALPHA * (token_s - self.token_s)
            self.fastest_s = min(self.fastest_s, token_s)

    def seconds(self, runs: float, tokens: int) -> float:
        """What `runs` runs over `tokens` tokens take one after the other, by the mean."""
        return (runs * self.run_cost_tokens + tokens) * self.token_s

    def min_run_s(self, queue: RequestQueue) -> float:
        """What the next run takes at the least, as fast as one ever was."""
        return (self.run_cost_tokens + min(queue.tokens, queue.max_batch_tokens)) * self.fastest_s

    def needed_s(self, lengths: list[int], queue: RequestQueue, load: Load) -> float:
        sequences, tokens = len(lengths), sum(lengths)
        if not queue.sequences and not load.free_in_s:
            # The mean may stem from a bad minute; nothing runs that would correct it, so it refuses nobody.
            return (self.run_cost_tokens * runs(queue, sequences, tokens) + tokens) * self.fastest_s
        sequences, tokens = sequences + queue.sequences, tokens + queue.tokens
        return load.free_in_s + self.seconds(runs(queue, sequences, tokens), tokens) / self.workers

    def drain_s(self, queue: RequestQueue) -> float:
        return self.seconds(runs(queue, queue.sequences, queue.tokens), queue.tokens) / self.workers


def runs(queue: RequestQueue, sequences: int, tokens: int) -> int:
    return math.ceil(max(sequences / queue.max_batch_size, tokens / queue.max_batch_tokens))


class DecodeLatencyModel:
    """A step takes `base_s` and `row_s` for each row, and what joins in it `prefill_token_s` a source token.

    Warm-up measures the three; reports then move `slowdown`, the exponentially weighted mean of what was
    measured over what they predict, and the two lengths. `min_slowdown` is the least of any report.
    """

    def __init__(self, workers: int, slots: int) -> None:
        """`slots` are each worker's."""
        self.workers = workers
        self.slots = slots
        self.base_s = self.row_s = self.prefill_token_s = 0.0
        self.slowdown = self.min_slowdown = 1.0
        self.new_tokens_per_source_token = 1.0
        self.new_tokens_per_sequence = 1.0

    def seed(self, measured: list[Steps]) -> None:
        """Warm-up runs of few rows and of many: the line through the least step of the first and the last."""
        few, many = measured[0], measured[-1]
        few_s, many_s = min(few.seconds), min(many.seconds)
        between = max(max(many.rows) - max(few.rows), 1)
        self.row_s = max(0.0, (many_s - few_s) / between)
        self.base_s = max(0.0, many_s - self.row_s * max(many.rows))
        self.prefill_token_s = many.prefill_s / max(many.prefill_tokens, 1)
        self._observe_lengths(many, 1.0)

    def observe(self, report: Steps) -> None:
        predicted_s = sum(self.base_s + self.row_s * rows for rows in report.rows)
        predicted_s += self.prefill_token_s * report.prefill_tokens
        if predicted_s > 0:
            slowdown = (sum(report.seconds) + report.prefill_s) / predicted_s
            self.slowdown += STEPS_EWMA_ALPHA * (slowdown - self.slowdown)
            self.min_slowdown = min(self.min_slowdown, slowdown)
        self._observe_lengths(report, STEPS_EWMA_ALPHA)

    def needed_s(self, lengths: list[int], queue: RequestQueue, load: Load) -> float:
        slots = self.slots * self.workers
        wanted = load.slots + queue.sequences + len(lengths)
        steps = max(lengths) * self.new_tokens_per_source_token
        slowdown = self.slowdown if load.slots or queue.sequences else self.min_slowdown
        turn_s = self.new_tokens_per_sequence * self._step_s(self.slots) / slots
        waiting_s = max(0, wanted - slots) * turn_s
        return slowdown * (waiting_s + steps * self._step_s(min(wanted, slots) / self.workers))

    def drain_s(self, queue: RequestQueue) -> float:
        turn_s = self.new_tokens_per_sequence * self._step_s(self.slots) / (self.slots * self.workers)
        return self.slowdown * queue.sequences * turn_s

    def _step_s(self, rows: float) -> float:
        """A step, and its share of the encoder runs that keep `rows` slots occupied."""
        prefill_s = self.prefill_token_s / max(self.new_tokens_per_source_token, 1e-3)
        return self.base_s + rows * (self.row_s + prefill_s)

    def _observe_lengths(self, report: Steps, alpha: float) -> None:
        sources, new = sum(source for source, _ in report.lengths), sum(new for _, new in report.lengths)
        if sources:
            self.new_tokens_per_source_token += alpha * (new / sources - self.new_tokens_per_source_token)
            self.new_tokens_per_sequence += alpha * (new / len(report.lengths) - self.new_tokens_per_sequence)
