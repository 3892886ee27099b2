"""A run in a few rows: what each server did for one number of users, and how many times the baseline."""

import math
from collections.abc import Iterator

import pandas as pd

from benchmark.charts import headline, titles
from benchmark.charts.data import RunData
from benchmark.runs.records import Cell
from benchmark.stats.formatting import ABSENT, format_factor, format_figure
from benchmark.stats.intervals import SAME, SMALLEST_EFFECT
from benchmark.stats.repeats import COMPARED, Repeats, compare

RPS = COMPARED[0]
TOO_FEW = "(too few)"
COLUMNS = {
    "requests/s": "throughput_rps",
    "p50, ms": "p50_ms",
    "p95, ms": "p95_ms",
    "cold start, s": "cold_start_s",
    "memory, MB": "rss_peak_bytes",
}
SCALE = {"memory, MB": 1e6}


def summary(data: RunData, repeats: dict[Cell, Repeats]) -> Iterator[dict[str, str]]:
    """One row a task and server at the headline's users: medians over the valid repeats, and the ratio.

    A server without a valid cell has no row.
    """
    level = headline.level_of(data)
    for part in headline.parts_of(data):
        cells = data.of(part).where(users=level, status="ok")
        own = {
            cell.server: found
            for cell, found in repeats.items()
            if (cell.task, cell.workload, cell.texts_per_request, cell.users)
            == (part.task, part.workload, part.texts_per_request, level)
        }
        medians = cells.frame.groupby("server")[list(COLUMNS.values())].median()
        rates = medians[RPS.key]
        for server in cells.servers:
            figures = {
                name: shown(float(value) / SCALE.get(name, 1))
                for name, value in zip(COLUMNS, medians.loc[server], strict=True)
            }
            rate = figures.pop("requests/s")
            yield {
                "task": part.task,
                "server": titles.name(server).lower(),
                "requests/s": rate,
                "times the baseline": against(rates, own, server),
                **figures,
            }


def shown(value: float) -> str:
    return TOO_FEW if math.isnan(value) else format_figure(value)


def against(rates: "pd.Series[float]", own: dict[str, Repeats], server: str) -> str:
    """How many times the baseline's of `rates`, with the interval of the ratio; "1" for the baseline itself.

    Of the medians, as on every chart; the interval is that of the rounds' own ratios.
    """
    if server == titles.REFERENCE or titles.REFERENCE not in own:
        return "1" if server == titles.REFERENCE else ABSENT
    compared = compare(own[titles.REFERENCE], own[server], RPS)
    if compared is None:
        return ABSENT
    factor = format_factor(rates[server] / rates[titles.REFERENCE])
    interval = compared.ratio.interval
    if interval is None:
        return factor
    same = ", no clear difference" if compared.verdict(SMALLEST_EFFECT) == SAME else ""
    return f"{factor} ({format_factor(interval.low)} to {format_factor(interval.high)}{same})"
