"""What decoding in slots takes, learned from its steps: a request's wait is estimated by it."""

import math
from dataclasses import dataclass, field

from .batch_queue import BatchQueue

NEWEST_WEIGHT = 0.1


@dataclass(slots=True)
class Steps:
    """What an engine did since its last report.

    `rows` and `seconds` have an entry a step; `waits_s` an entry a join, the longest wait of its texts, and
    `joins` as well, when they left the queue and when they were encoded; `lengths` one a text that ended, its
    source tokens and those it was given. `prefill_s` is time between steps; `aside_s` CPU time of texts that
    were encoded beside the steps, whose seconds hold it already.
    """

    rows: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    joins: list[tuple[float, float]] = field(default_factory=list)
    lengths: list[tuple[int, int]] = field(default_factory=list)
    joined_texts: int = 0
    prefill_tokens: int = 0
    prefill_s: float = 0.0
    aside_s: float = 0.0


class DecodeCost:
    """A step takes `base_s` and `row_s` for each row, and what joins in it `prefill_token_s` a source token.

    Warm-up measures the three; reports then move `slowness`, the exponentially weighted mean of what was
    measured over what they predict, and the two lengths. `fastest` is the least slowness of any report.
    """

    def __init__(self, engines: int, slots: int) -> None:
        self.engines = engines
        self.slots = slots
        self.base_s = self.row_s = self.prefill_token_s = 0.0
        self.slowness = self.fastest = 1.0
        self.tokens_a_source_token = 1.0
        self.tokens_a_text = 1.0

    def seed(self, measured: list[Steps]) -> None:
        """Warm-up runs of few rows and of many: the line through the least step of the first and the last."""
        few, many = measured[0], measured[-1]
        few_s, many_s = min(few.seconds), min(many.seconds)
        between = max(max(many.rows) - max(few.rows), 1)
        self.row_s = max(0.0, (many_s - few_s) / between)
        self.base_s = max(0.0, many_s - self.row_s * max(many.rows))
        self.prefill_token_s = many.prefill_s / max(many.prefill_tokens, 1)
        self._observe_lengths(many, 1.0)

    def observe(self, steps: Steps) -> None:
        predicted_s = sum(self.base_s + self.row_s * rows for rows in steps.rows)
        predicted_s += self.prefill_token_s * steps.prefill_tokens
        if predicted_s > 0:
            slowness = (sum(steps.seconds) + steps.prefill_s) / predicted_s
            self.slowness += NEWEST_WEIGHT * (slowness - self.slowness)
            self.fastest = min(self.fastest, slowness)
        self._observe_lengths(steps, NEWEST_WEIGHT)

    def least_run_s(self, queue: BatchQueue) -> float:
        """A text may end at any step, so none is given up before its deadline."""
        return 0.0

    def needed_s(self, lengths: list[int], queue: BatchQueue, rows: float) -> float:
        """Seconds until the answer to texts of `lengths` that come now, as far as can be expected.

        `rows` is how many are being decoded by all engines.
        """
        slots = self.slots * self.engines
        wanted = rows + queue.texts + len(lengths)
        steps = max(lengths) * self.tokens_a_source_token
        slowness = self.slowness if rows or queue.texts else self.fastest
        waiting_s = max(0.0, wanted - slots) * self.tokens_a_text * self._step_s(self.slots) / slots
        return slowness * (waiting_s + steps * self._step_s(min(wanted, slots) / self.engines))

    def drain_s(self, queue: BatchQueue) -> float:
        """Seconds in which all that waits now will have found a slot."""
        slots = self.slots * self.engines
        return self.slowness * queue.texts * self.tokens_a_text * self._step_s(self.slots) / slots

    def _step_s(self, rows: float) -> float:
        """A step, and its share of the encoder runs that keep `rows` slots occupied."""
        prefill_s = self.prefill_token_s / max(self.tokens_a_source_token, 1e-3)
        return self.base_s + rows * (self.row_s + prefill_s)

    def _observe_lengths(self, steps: Steps, weight: float) -> None:
        given = sum(tokens for _, tokens in steps.lengths)
        read = sum(tokens for tokens, _ in steps.lengths)
        if read and math.isfinite(given):
            self.tokens_a_source_token += weight * (given / read - self.tokens_a_source_token)
            self.tokens_a_text += weight * (given / len(steps.lengths) - self.tokens_a_text)
