"""Intervals and verdicts from the rounds of a run: what a ratio of two figures may be, and whether it counts.

Computed on logarithms, as noise of speed is in proportion to it: the mean is the geometric mean, and the
interval of b/a is that of a/b turned over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from benchmark.stats.figures import CONFIDENCE
from benchmark.stats.formatting import format_factor

# An interval of two rounds is so wide that it says nothing.
MIN_ROUNDS = 3
SMALLEST_EFFECT = 0.05
# A shared machine drifts by 5 to 10 % from one run to the next, and no number of rounds within them shows it.
SMALLEST_EFFECT_BETWEEN_RUNS = 0.10

FASTER, SLOWER, SAME, TOO_FEW_ROUNDS = "faster", "slower", "indistinguishable", f"n < {MIN_ROUNDS} rounds"


@dataclass(frozen=True)
class Interval:
    """A 95 % t interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """A figure of the second measurement over that of the first; no interval under MIN_ROUNDS."""

    value: float
    interval: Interval | None

    def verdict(self, higher_is_faster: bool, smallest_effect: float = SMALLEST_EFFECT) -> str:
        """FASTER or SLOWER where the second differs by more than noise and by enough, else SAME.

        More than noise: the 95 % interval leaves out 1. Enough: the ratio is beyond `smallest_effect` (0.05
        is a factor of 1.05 either way), so that a difference nobody would act on gets no verdict however
        sure it is. The same pair of conditions is Criterion.rs's (significance level and noise threshold).
        """
        if self.interval is None:
            return TOO_FEW_ROUNDS
        log_ratio = math.log(self.value)
        is_noise = self.interval.low <= 1 <= self.interval.high
        if is_noise or abs(log_ratio) <= math.log1p(smallest_effect):
            return SAME
        return FASTER if (log_ratio > 0) == higher_is_faster else SLOWER


def format_ratio(value: float, ratio: Ratio) -> str:
    """`value` with the interval of `ratio`, if it has one: 4.1x (3.4x to 4.9x)."""
    factor, interval = format_factor(value), ratio.interval
    if interval is None:
        return factor
    return f"{factor} ({format_factor(interval.low)} to {format_factor(interval.high)})"


def interval_of_rounds(values: Sequence[float]) -> Interval | None:
    """The 95 % t interval of the geometric mean of one value a round; None under MIN_ROUNDS."""
    if len(values) < MIN_ROUNDS:
        return None
    logs = np.log(values)
    centre = float(logs.mean())
    half = float(distributions.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * distributions.sem(logs))
    return Interval(math.exp(centre - half), math.exp(centre + half))


def ratio_of_rounds(first: Sequence[float], second: Sequence[float]) -> Ratio:
    """The ratio of two figures of the same rounds, paired by round: what falls on both alike cancels out."""
    ratios = [other / one for one, other in zip(first, second, strict=True)]
    return Ratio(geometric_mean(ratios), interval_of_rounds(ratios))


def geometric_mean(values: Sequence[float]) -> float:
    return float(distributions.gmean(values))
