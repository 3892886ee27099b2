"""A wall clock that any two looks find an hour or more apart; on PYTHONPATH, Python imports it."""

import itertools
import time

_HOUR_S = 3600.0
_true, _looks = time.time, itertools.count()


def _stepped() -> float:
    look = next(_looks)
    return _true() + (look if look % 2 else -look) * _HOUR_S


time.time = _stepped
time.time_ns = lambda: int(_stepped() * 1e9)
