"""Intervals and verdicts from repeats: what a figure or a ratio of two may be, and whether it counts.

Everything is computed on logarithms, as noise of speed is in proportion to it: the mean is the geometric
mean, and the interval of b/a is that of a/b turned over.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats as distributions

from benchmark.stats.blocks import Estimate
from benchmark.stats.figures import CONFIDENCE

ROUNDS_FOR_T = 5
ROUNDS_FOR_RANGE = 3
SMALLEST_EFFECT = 0.05
# Standard deviation of the log ratio that two measurements of unchanged code show where they are not
# interleaved. A shared machine drifts by 5 to 10 % between runs; 1.96 of these are 10 %, so that such a
# drift alone stays inside the interval.
DRIFT = 0.05

FASTER, SLOWER, SAME = "faster", "slower", "indistinguishable"


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`; `method` says what it is. A `ranged` one is a min-max: it has no confidence."""

    low: float
    high: float
    method: str
    ranged: bool = False


@dataclass(frozen=True)
class Ratio:
    """A figure of the second measurement over that of the first."""

    value: float
    interval: Interval

    def verdict(self, higher_is_faster: bool, smallest_effect: float = SMALLEST_EFFECT) -> str:
        """FASTER or SLOWER where the second differs by more than noise and by enough, else SAME.

        More than noise: the 95 % interval leaves out 1. Enough: the ratio itself is beyond `smallest_effect`
        (0.05 is a factor of 1.05 either way), so that a difference nobody would act on gets no verdict
        however sure it is. A min-max of few rounds leaves out 1 by luck too often (of 3 rounds, 1 time in
        4), so all of it must be beyond `smallest_effect`. The same pair of conditions is Criterion.rs's
        (significance level and noise threshold).
        """
        margin = math.log1p(smallest_effect)
        low, middle, high = (math.log(one) for one in (self.interval.low, self.value, self.interval.high))
        least, most = (low, high) if self.interval.ranged else (middle, middle)
        if least > margin and low > 0:
            return FASTER if higher_is_faster else SLOWER
        if most < -margin and high < 0:
            return SLOWER if higher_is_faster else FASTER
        return SAME


def of_rounds(values: Sequence[float]) -> Interval:
    """A figure's interval from one value a repeat, three or more.

    From ROUNDS_FOR_T repeats on the 95 % t interval of the geometric mean, else the smallest and largest
    value: under five, an interval that rests on a standard deviation is little but its guess.
    """
    logs = np.log(values)
    if len(logs) < ROUNDS_FOR_T:
        return _range(logs, f"min-max of {len(logs)} repeats")
    parts = [(float(logs.var(ddof=1)) / len(logs), len(logs) - 1.0)]
    return _interval(float(logs.mean()), parts, f"95 % t, {len(logs)} repeats")


def of_blocks(estimates: Sequence[Estimate]) -> Interval:
    """A figure's 95 % interval from the requests within its one or two repeats; it knows of no restarts."""
    logs = [math.log(one.value) for one in estimates]
    repeats = "1 repeat" if len(logs) == 1 else f"{len(logs)} repeats"
    return _interval(float(np.mean(logs)), _parts(estimates), f"95 % within {repeats}")


@dataclass(frozen=True)
class Correction:
    """What to take from the log ratio of each round, and the variance of their mean with its freedom."""

    logs: np.ndarray
    variance: float
    freedom: float


NO_CORRECTION = Correction(np.zeros(1), 0.0, math.inf)


def ratio_of_rounds(
    first: Sequence[float], second: Sequence[float], drift: float, correction: Correction = NO_CORRECTION
) -> Ratio:
    """The ratio of two figures measured in the same three or more rounds, paired by round.

    `drift`: 0 where the rounds were interleaved, so that a drift of the machine falls on both alike: the t
    interval of the log ratios from ROUNDS_FOR_T rounds on, else their min-max. Elsewhere the rounds of one
    run share what sets it apart from the other run, and no number of them shows it: `drift`, the standard
    deviation of a log ratio between runs, is then a part of the variance, as a known standard uncertainty
    beside a measured one (Guide to the Expression of Uncertainty in Measurement, JCGM 100:2008, 5.1 and G.4).
    """
    logs = np.log(second) - np.log(first) - correction.logs
    count, centre = len(logs), float(logs.mean())
    if not drift and count < ROUNDS_FOR_T:
        return Ratio(math.exp(centre), _range(logs, f"min-max of {count} rounds"))
    parts = [(float(logs.var(ddof=1)) / count, count - 1.0), (drift**2, math.inf)]
    parts.append((correction.variance, correction.freedom))
    method = f"95 %, {count} rounds and drift" if drift else f"95 % t, {count} rounds"
    return Ratio(math.exp(centre), _interval(centre, parts, method))


def ratio_of_blocks(
    first: Sequence[Estimate],
    second: Sequence[Estimate],
    drift: float,
    correction: Correction = NO_CORRECTION,
) -> Ratio:
    """The ratio of two figures of one or two rounds, from the requests within them and `drift`."""
    centre = float(np.mean([math.log(one.value) for one in second]))
    centre -= float(np.mean([math.log(one.value) for one in first])) + float(correction.logs.mean())
    parts = [*_parts(first), *_parts(second), (drift**2, math.inf), (correction.variance, correction.freedom)]
    return Ratio(math.exp(centre), _interval(centre, parts, "95 %, within cells and drift"))


def _parts(estimates: Sequence[Estimate]) -> list[tuple[float, float]]:
    return [((one.log_error / len(estimates)) ** 2, one.freedom) for one in estimates]


def _interval(centre: float, parts: Sequence[tuple[float, float]], method: str) -> Interval:
    """The 95 % interval around `centre` from variances and their degrees of freedom (Welch-Satterthwaite)."""
    variance = sum(part for part, _ in parts)
    inverse = sum((part / variance) ** 2 / freedom for part, freedom in parts) if variance else 0.0
    freedom = 1 / inverse if inverse else math.inf
    half = float(distributions.t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(variance)
    return Interval(math.exp(centre - half), math.exp(centre + half), method)


def _range(logs: np.ndarray, method: str) -> Interval:
    return Interval(math.exp(logs.min()), math.exp(logs.max()), method, ranged=True)
