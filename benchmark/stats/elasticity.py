"""How much a server's speed follows its machine's, so that two runs can be compared at the same one.

A shared machine is faster in one hour than in the next, often by more than the changes that a comparison of
two runs is to find. The probe of `measure.speed_probe` goes through the same ups and downs as the server
beside it: the speed that it tells is a control variate (Law and Kelton, "Simulation Modeling and Analysis",
the chapter on variance reduction; the same idea is CUPED of Deng et al., WSDM 2013). How much of a change of
the one is found in the other is seen within the cells, where it has nothing to do with any change of code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.stats.intervals import Correction

BLOCK_S = 2.0
# A line through fewer points has no error worth the name.
LEAST_FREEDOM = 8


@dataclass(frozen=True)
class Elasticity:
    """By which factor to raise a ratio of machine speeds to have that of throughputs; its standard error."""

    value: float
    error: float
    freedom: float


def block_logs(
    answered_s: np.ndarray, probed_s: np.ndarray, log_speeds: np.ndarray, duration_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of the answers and mean log speeds in each BLOCK_S of a window `[0, duration_s)`.

    All float64; the moments in s. A block without an answer or without a probe is left out.
    """
    edges = np.arange(int(duration_s // BLOCK_S) + 1) * BLOCK_S
    if len(edges) < 2:
        return np.array([]), np.array([])
    answers, _ = np.histogram(answered_s, edges)
    probes, _ = np.histogram(probed_s, edges)
    sums, _ = np.histogram(probed_s, edges, weights=log_speeds)
    there = (answers > 0) & (probes > 0)
    return np.log(answers[there]), sums[there] / probes[there]


def elasticity(windows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Elasticity | None:
    """Least squares through the blocks of windows (log answers, log speeds), each about its own means.

    Held between 0 and 1: work on a core does not get slower as the core gets faster, nor gain more than it.
    Noise of the probe's own makes it too small, and then less than all of the machine's change is taken out.
    None where there are too few blocks, or the machine's speed did not change at all.
    """
    answers: list[np.ndarray] = []
    speeds: list[np.ndarray] = []
    means = 0
    for of_answers, of_speeds in windows:
        if len(of_answers) > 1:
            answers.append(of_answers - of_answers.mean())
            speeds.append(of_speeds - of_speeds.mean())
            means += 1
    if not answers:
        return None
    y, x = np.concatenate(answers), np.concatenate(speeds)
    freedom, spread = len(y) - means - 1, float(x @ x)
    if freedom < LEAST_FREEDOM or spread == 0:
        return None
    slope = float(x @ y) / spread
    error = float(np.sqrt(((y - slope * x) ** 2).sum() / freedom / spread))
    return Elasticity(min(1.0, max(0.0, slope)), error, freedom)


def correction(log_speed_ratios: Sequence[float], found: Elasticity, higher_is_faster: bool) -> Correction:
    """What the machine's own change, one ratio a round, has done to a figure's log ratios.

    A latency moves against its throughput: in a closed loop they are two sides of one thing.
    """
    shifts = np.asarray(log_speed_ratios, dtype=float)
    logs = found.value * shifts if higher_is_faster else -found.value * shifts
    return Correction(logs, float((found.error * shifts.mean()) ** 2), found.freedom)
