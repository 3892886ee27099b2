"""The report's intervals, and how far its servers are apart."""

from collections.abc import Callable, Iterator
from itertools import combinations

from benchmark.charts import titles
from benchmark.charts.data import Slice, in_order
from benchmark.report.tables import ABSENT
from benchmark.runs.records import SERVERS, Cell
from benchmark.stats.formatting import format_number, format_significant
from benchmark.stats.intervals import SMALLEST_EFFECT, SMALLEST_EFFECT_BETWEEN_RUNS, Interval
from benchmark.stats.repeats import COMPARED, Repeats, compare


def intervals(repeats: dict[Cell, Repeats], part: Slice) -> Iterator[dict[str, str]]:
    """One row a server and level of `part`: the interval of each figure."""
    for level in levels(repeats, part):
        for server, own in level.items():
            found = {figure.heading: own.interval(figure) for figure in COMPARED}
            yield {
                "server": f"{titles.name(server)}, {users_text(own)}",
                **{heading: shown_range(one, shown) for heading, one in found.items()},
                "rounds": str(len(own.records)),
            }


def ratios(repeats: dict[Cell, Repeats], part: Slice) -> Iterator[dict[str, str]]:
    """One row a pair of servers and level of `part`: the later server's figures over the earlier one's."""
    for level in levels(repeats, part):
        for first, second in combinations(level, 2):
            one, other = level[first], level[second]
            reused = one.reused or other.reused
            effect = SMALLEST_EFFECT_BETWEEN_RUNS if reused else SMALLEST_EFFECT
            found = {figure: compare(one, other, figure) for figure in COMPARED}
            texts = {}
            for figure, each in found.items():
                name = figure.heading.partition(",")[0]
                interval = each.ratio.interval if each else None
                texts[f"{name} ratio"] = shown_ratio(each.ratio.value) if each else ABSENT
                texts[f"{name} from, to"] = shown_range(interval, shown_ratio)
                texts[f"{name} is"] = each.verdict(effect) if each else ABSENT
            yield {
                "servers": f"{titles.name(second)} / {titles.name(first)}, {users_text(one)}",
                **texts,
                "rounds": str(max((each.rounds for each in found.values() if each), default=0)),
            }


def levels(repeats: dict[Cell, Repeats], part: Slice) -> Iterator[dict[str, Repeats]]:
    """For each number of users in `part`, from few to many: server -> its repeats, in their usual order."""
    own = {
        cell: found
        for cell, found in repeats.items()
        if Slice(cell.task, cell.workload, cell.texts_per_request) == part
    }
    for users in sorted({cell.users for cell in own}):
        level = {cell.server: found for cell, found in own.items() if cell.users == users}
        yield {server: level[server] for server in in_order(level, SERVERS)}


def users_text(repeats: Repeats) -> str:
    users = next(iter(repeats.records.values()))["cell"]["users"]
    return "1 user" if users == 1 else f"{users:,} users"


def shown_range(interval: Interval | None, show: Callable[[float], str]) -> str:
    return f"{show(interval.low)} to {show(interval.high)}" if interval else ABSENT


def shown_ratio(value: float) -> str:
    return format_number(value, 2 if value >= 0.1 else 3)


def shown(value: float) -> str:
    return format_significant(value)
