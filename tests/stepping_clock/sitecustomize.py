"""A wall clock that is stepped back and forth by an hour at every look; on PYTHONPATH, Python imports it."""

import itertools
import time

_HOUR_S = 3600.0
_true, _steps = time.time, itertools.cycle((0.0, _HOUR_S, -_HOUR_S))


def _stepped() -> float:
    return _true() + next(_steps)


time.time = _stepped
time.time_ns = lambda: int(_stepped() * 1e9)
