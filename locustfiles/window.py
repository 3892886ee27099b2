"""How long a cell is measured: until it has enough answers at a stable throughput, or up to a cap."""

import numpy as np
from numpy.typing import ArrayLike

WINDOWS = 3
WINDOW_FLOOR = 30
STABLE_WITHIN = 0.10


def window_spread(answered_s: ArrayLike, duration_s: float) -> float | None:
    """How far throughput differs between WINDOWS equal parts of a window: largest / smallest - 1.

    `answered_s`: the times of the right answers; those outside `[0, duration_s)` do not count. None where a
    part has fewer than WINDOW_FLOOR of them: one answer would then be a good part of STABLE_WITHIN.
    """
    moments = np.asarray(answered_s, dtype=float)
    # NumPy's last bin has its right edge in it.
    counts, _ = np.histogram(moments[moments < duration_s], WINDOWS, (0, duration_s))
    return float(counts.max() / counts.min() - 1) if counts.min() >= WINDOW_FLOOR else None


class MeasuredWindow:
    """A window of `duration_s` that grows part by part, times in seconds since it first opened.

    Two things make it grow: fewer than `least_answers` right answers in it, and a throughput that differs
    between its parts by more than STABLE_WITHIN. Where only its first parts differed from the rest (a cache
    was filling, a machine was busy), they are cut off once the last `duration_s` are stable. Method: the
    last windows of Triton's perf_analyzer, which measures until three in a row agree.
    """

    def __init__(self, duration_s: float, max_duration_s: float, least_answers: int) -> None:
        self.planned_s = duration_s
        self.part_s = duration_s / WINDOWS
        self.max_parts = max(WINDOWS, int(max_duration_s / self.part_s + 1e-9))
        self.least_answers = least_answers
        self.first_part, self.parts = 0, WINDOWS
        self._reasons: dict[str, None] = {}
        self._capped = ""

    @property
    def start_s(self) -> float:
        return self.first_part * self.part_s

    @property
    def end_s(self) -> float:
        return self.parts * self.part_s

    @property
    def extension(self) -> str:
        """Why the window is not the planned one, or why it was stopped at the cap; else empty."""
        if self._capped:
            return f"stopped at the cap of {self.end_s:g} s: {self._capped}"
        if self.parts == WINDOWS:
            return ""
        cut = f", the first {self.start_s:g} s cut off" if self.first_part else ""
        reasons = "; ".join(self._reasons)
        return f"measured {self.end_s:g} s instead of {self.planned_s:g}{cut}: {reasons}"

    def is_enough(self, answered_s: ArrayLike) -> bool:
        """Whether the window may close at `end_s`; where not, it is a part longer from here on."""
        moments = np.asarray(answered_s, dtype=float)
        kind, reason = self._shortfall(moments)
        if not reason:
            return True
        if self.parts == self.max_parts:
            if self.max_parts > WINDOWS:
                self._capped = reason
            return True
        self._reasons[kind] = None
        self.parts += 1
        return False

    def _shortfall(self, moments: np.ndarray) -> tuple[str, str]:
        """What is missing, in general and with its figure; empty where nothing is."""
        count = int(((moments >= 0) & (moments < self.end_s)).sum())
        if count < self.least_answers:
            return (
                f"fewer than {self.least_answers} answers at first",
                f"{count} answers, a p95 needs {self.least_answers}",
            )
        spread = window_spread(moments, self.end_s)
        if spread is None or spread <= STABLE_WITHIN:
            return "", ""
        last_s = moments - (self.end_s - self.planned_s)
        last = window_spread(last_s, self.planned_s)
        enough = ((last_s >= 0) & (last_s < self.planned_s)).sum() >= self.least_answers
        if last is not None and last <= STABLE_WITHIN and enough:
            self.first_part = self.parts - WINDOWS
            return "", ""
        limit = f"{STABLE_WITHIN:.0%}"
        return (
            f"throughput differed by more than {limit} between its parts at first",
            f"throughput differs by {spread:.0%} between its parts (limit {limit})",
        )
