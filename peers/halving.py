"""Successive halving: candidates take turns, and after each stage the slower half drops out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

# Each candidate then has three passes with a full turn around them; the median leaves out one that is off.
ROUNDS_PER_STAGE = 4
Pass = dict[str, Any]


def successive_halving(
    candidates: int,
    measure: Callable[[int], Pass],
    report: Callable[[str], None],
    *,
    figure: str = "tokens_per_s",
    unit: str = "tokens/s",
    rounds_per_stage: int = ROUNDS_PER_STAGE,
) -> tuple[int, list[list[Pass]]]:
    """The index of the fastest of so many candidates, and every pass of each.

    `measure` runs one pass of a candidate, whose speed is its `figure`, reported in `unit`.
    """
    passes: list[list[Pass]] = [[] for _ in range(candidates)]
    remaining = list(range(candidates))
    while len(remaining) > 1:
        for turn in range(rounds_per_stage):
            for candidate in remaining:
                passes[candidate].append(measure(candidate))
            speeds = [passes[candidate][-1][figure] for candidate in remaining]
            report(
                f"{len(remaining)} settings, round {turn + 1} of {rounds_per_stage}: "
                f"{min(speeds):,.0f} to {max(speeds):,.0f} {unit}"
            )
        stage = [[one[figure] for one in passes[candidate][-rounds_per_stage:]] for candidate in remaining]
        slowest_first = np.argsort(relative_speeds(np.transpose(stage)))
        faster_half = slowest_first[len(remaining) // 2 :]
        remaining = [remaining[position] for position in sorted(faster_half)]
    return remaining[0], passes


def relative_speeds(rounds: np.ndarray) -> np.ndarray:
    """The logarithm of each candidate's speed over that of all, from speeds by [round, candidate].

    As in seasonal decomposition by ratio to moving average: the geometric mean over one full turn around a
    pass holds every candidate once, so that it follows the machine's speed and nothing else.
    """
    turn = rounds.shape[1]
    logs = pd.Series(np.log(rounds.ravel()))
    machine = logs.rolling(turn, center=True).mean()
    if turn % 2 == 0:  # an even window is centred between two passes
        machine = (machine + machine.shift(-1)) / 2
    return np.nanmedian((logs - machine).to_numpy().reshape(rounds.shape), axis=0)
