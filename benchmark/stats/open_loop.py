"""From the requests of an open loop to the figures of an offered rate, and their table."""

import math
from typing import Any

import numpy as np
import pandas as pd

from benchmark.runs.records import REQUEST_COLUMNS
from benchmark.stats.figures import percentile_ms
from benchmark.stats.formatting import format_number
from locustfiles.arrivals import MAX_SEND_LAG_P95_MS

OUTCOMES = ("right", "late", "refused", "expired", "wrong", "unanswered")
COLUMNS = REQUEST_COLUMNS | {
    "outcome": "string",
    "status": "int64",
    "send_lag_ms": "float64",  # from the scheduled to the real send
    "long": "bool",
}


def figures(requests: pd.DataFrame, duration_s: float, deadline_ms: float) -> dict[str, Any]:
    """The outcomes of the requests scheduled within the window of `duration_s`, whenever their answers came.

    Goodput is right answers within `deadline_ms` of the scheduled send. An accepted request that got no
    answer (expired or unanswered) counts as slower than every answer, so that p50 and p95 are not those of
    the survivors; a percentile that falls among such requests is None, as is one under its sample floor.
    """
    measured = requests[(requests["start_s"] >= 0) & (requests["start_s"] < duration_s)]
    outcome = measured["outcome"].astype("object")
    outcome = outcome.mask((outcome == "right") & (measured["latency_ms"] > deadline_ms), "late")
    counts = {name: int((outcome == name).sum()) for name in OUTCOMES}
    answered = outcome.isin(("right", "late"))
    refused = outcome == "refused"
    accepted_ms = measured["latency_ms"].where(answered, math.inf)[~refused]
    refusals_ms = measured["latency_ms"][refused]
    lags_ms = measured["send_lag_ms"].dropna()
    with np.errstate(invalid="ignore"):  # between two requests without an answer
        p50_ms, p95_ms = (finite(percentile_ms(accepted_ms, percentile)) for percentile in (50, 95))
    lag_p95_ms = float(np.percentile(lags_ms, 95)) if len(lags_ms) else 0.0
    return {
        "requests": len(measured),
        "offered_rps": len(measured) / duration_s,
        "goodput_rps": counts["right"] / duration_s,
        **counts,
        "refused_share": counts["refused"] / len(measured) if len(measured) else None,
        "p50_ms": p50_ms,
        "p95_ms": p95_ms,
        "refuse_p95_ms": percentile_ms(refusals_ms, 95),
        "send_lag_p95_ms": lag_p95_ms,
        "generator_behind": lag_p95_ms > MAX_SEND_LAG_P95_MS,
    }


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def summary(rate: dict[str, Any]) -> str:
    """One rate as a line."""
    others = ", ".join(f"{rate[name]} {name}" for name in OUTCOMES if name != "right" and rate[name])
    line = f"offered {rate['offered_rps']:.1f} RPS, goodput {rate['goodput_rps']:.1f}"
    return line + (f", {others}" if others else "")


def rate_row(rate: dict[str, Any]) -> dict[str, str]:
    """One row of the table of an open loop."""
    return {
        "offered RPS": format_number(rate["offered_rps"], 1),
        "goodput RPS": format_number(rate["goodput_rps"], 1),
        **{name: format_number(rate[name], 0) for name in OUTCOMES if name != "right"},
        "p50 ms": format_number(rate["p50_ms"], 0),
        "p95 ms": format_number(rate["p95_ms"], 0),
        "p95 ms to refuse": format_number(rate["refuse_p95_ms"], 0),
        "p95 ms of send lag": format_number(rate["send_lag_p95_ms"], 1),
        "note": f"send lag above {MAX_SEND_LAG_P95_MS:g} ms" if rate["generator_behind"] else "",
    }


def rates_note(record: dict[str, Any]) -> str:
    """What the figures of the table mean."""
    return (
        f"goodput: right answers within {record['offer']['deadline_ms']} ms of the scheduled send; latencies "
        "of accepted requests; empty: under the sample floor, or no answer"
    )


def recovery_line(record: dict[str, Any]) -> str:
    recovery = record["recovery"]
    if not recovery["recovered"]:
        return f"not recovered {recovery['after_s']:g} s after the highest rate: {recovery['problem']}"
    before_ms, after_ms = (max(recovery[key]) for key in ("before_ms", "after_ms"))
    return (
        f"recovered: {recovery['after_s']:g} s after the highest rate it answers as before "
        f"(slowest of {len(recovery['after_ms'])}: {after_ms:,.0f} ms, before {before_ms:,.0f} ms)"
    )
