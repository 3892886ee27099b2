"""From kept requests to a cell's figures, and the rule for which percentiles may be printed."""

from typing import Any

import numpy as np
import pandas as pd

from locustfiles.window import STABLE_WITHIN, window_spread

PERCENTILES = (50, 95, 99)
CONFIDENCE = 0.95
# Under so many answers a rate is chance: 16 at random times spread by a quarter (Poisson), clumps by more.
RATE_FLOOR = 16


def sample_floor(percentile: float) -> int:
    """Fewest requests over which a percentile is printed.

    Wilks' two-sided tolerance limits (Annals of Mathematical Statistics 12, 1941): the smallest n for
    which the range of the sample covers that share of all requests with 95 % confidence, that is
    1 - n q^(n-1) + (n-1) q^n >= 0.95. It gives 8, 93 and 473 for p50, p95 and p99.
    """
    quantile = percentile / 100
    n = 2
    while 1 - n * quantile ** (n - 1) + (n - 1) * quantile**n < CONFIDENCE:
        n += 1
    return n


def percentile_ms(latencies_ms: pd.Series, percentile: float) -> float | None:
    """The percentile by linear interpolation, None under its sample floor; in ms."""
    if len(latencies_ms) < sample_floor(percentile):
        return None
    return float(np.percentile(latencies_ms, percentile))


def stability(window_spread: float | None) -> str:
    """What a cell's spread says: "stable" up to STABLE_WITHIN, else "unstable"; "too few" where it has none.

    A cell that was still warming up, filling a cache, or sharing its core is unstable: its figures are an
    average over different speeds, and a longer cell would have others.
    """
    if window_spread is None:
        return "too few"
    return "stable" if window_spread <= STABLE_WITHIN else "unstable"


def in_window(requests: pd.DataFrame, duration_s: float) -> pd.DataFrame:
    """The requests answered within the measured window.

    Counting by the moment of the answer keeps throughput unbiased whatever the latency: each answer
    falls into exactly one window.
    """
    answered_s = _answered_s(requests)
    return requests[(answered_s >= 0) & (answered_s < duration_s)]


def figures(requests: pd.DataFrame, duration_s: float) -> dict[str, Any]:
    """A cell's figures over its measured window; a failed request has no latency and no throughput."""
    measured = in_window(requests, duration_s)
    answered = measured[measured["ok"]]
    latencies_ms = answered["latency_ms"]
    texts = int(answered["texts"].sum())
    cached = answered["cache"].dropna()
    return {
        "duration_s": duration_s,
        "requests": len(measured),
        "failures": int((~measured["ok"]).sum()),
        "texts": texts,
        "throughput_rps": len(answered) / duration_s,
        "texts_per_s": texts / duration_s,
        "window_spread": window_spread(_answered_s(answered), duration_s),
        **{f"p{percentile}_ms": percentile_ms(latencies_ms, percentile) for percentile in PERCENTILES},
        "mean_ms": _or_none(latencies_ms.mean()),
        "max_ms": _or_none(latencies_ms.max()),
        "queue_p50_ms": _or_none(answered["queue_ms"].median()),
        "inference_p50_ms": _or_none(answered["inference_ms"].median()),
        "cache_hit_rate": float((cached == "hit").mean()) if len(cached) else None,
    }


def _answered_s(requests: pd.DataFrame) -> pd.Series:
    return requests["start_s"] + requests["latency_ms"] / 1e3


def _or_none(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
