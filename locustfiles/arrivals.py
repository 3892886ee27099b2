"""The send times of an open loop: a seeded Poisson process that no answer can delay."""

import math
import random
from collections.abc import Iterator

# Latency counts from the schedule, so a generator that is later than this at its p95 measures itself.
MAX_SEND_LAG_P95_MS = 10.0


def arrivals(rate: float, seed: int = 0) -> Iterator[float]:
    """Send times in seconds from the start, `rate` of them a second on average, without end.

    Raises ValueError unless `rate` is over 0.
    """
    if not rate > 0:
        raise ValueError(f"rate must be over 0 requests a second, not {rate:g}")
    rng = random.Random(f"arrivals/{seed}")
    at_s = 0.0
    while True:
        # Only random() is promised to stay the same in every Python version; expovariate() is not.
        at_s -= math.log(1.0 - rng.random()) / rate
        yield at_s
