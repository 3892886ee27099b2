"""A run in a few rows: what each server did for one number of users, and how many times the baseline."""

from collections.abc import Iterator

from benchmark.charts import headline, titles
from benchmark.charts.data import RunData
from benchmark.report.markdown import TOO_FEW
from benchmark.runs.records import Cell
from benchmark.stats.formatting import ABSENT, format_figure
from benchmark.stats.intervals import SAME, SMALLEST_EFFECT, format_ratio
from benchmark.stats.repeats import COMPARED, Repeats, compare

RPS = COMPARED[0]
MB = 1e6
COLUMNS = {
    "p50, ms": "p50_ms",
    "p95, ms": "p95_ms",
    "cold start, s": "cold_start_s",
    "memory, MB": "rss_peak_bytes",
}


def summary(data: RunData, repeats: dict[Cell, Repeats]) -> Iterator[dict[str, str]]:
    """One row a task and server at the headline's users: medians over the valid repeats, and the ratio.

    A server without a valid cell has no row.
    """
    level = headline.level_of(data) or 0
    for part in headline.parts_of(data):
        cells = data.of(part).where(users=level, status="ok")
        scaled = cells.frame.assign(rss_peak_bytes=cells.frame["rss_peak_bytes"] / MB)
        medians = scaled.groupby("server")[[RPS.key, *COLUMNS.values()]].median()
        own = {
            server: repeats[Cell(server, part.task, part.workload, part.texts_per_request, level, 0)]
            for server in cells.servers
        }
        for server in cells.servers:
            yield {
                "task": part.task,
                "server": titles.name(server).lower(),
                "requests/s": format_figure(medians.loc[server, RPS.key]),
                "times the baseline": times_the_baseline(medians[RPS.key].to_dict(), own, server),
                **{
                    heading: format_figure(medians.loc[server, key], TOO_FEW.get(heading, ABSENT))
                    for heading, key in COLUMNS.items()
                },
            }


def times_the_baseline(rates: dict[str, float], own: dict[str, Repeats], server: str) -> str:
    """The ratio of the median `rates`, as on the charts, with the interval of the rounds' own ratios."""
    if titles.REFERENCE not in own:
        return ABSENT
    if server == titles.REFERENCE:
        return "1"
    compared = compare(own[titles.REFERENCE], own[server], RPS)
    if compared is None:
        return ABSENT
    text = format_ratio(rates[server] / rates[titles.REFERENCE], compared.ratio)
    return f"{text}, no clear difference" if compared.verdict(SMALLEST_EFFECT) == SAME else text
