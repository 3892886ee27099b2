"""The report's 95 % intervals over the rounds, and the ratios between its servers."""

from collections.abc import Callable, Iterator
from itertools import combinations

import pandas as pd

from benchmark.charts import titles
from benchmark.charts.data import Slice, in_order
from benchmark.runs.records import SERVERS, Cell
from benchmark.stats.formatting import ABSENT, format_number, format_significant
from benchmark.stats.intervals import SMALLEST_EFFECT, SMALLEST_EFFECT_BETWEEN_RUNS, Interval
from benchmark.stats.repeats import COMPARED, Repeats, compare


def intervals(repeats: dict[Cell, Repeats], part: Slice) -> pd.DataFrame:
    """One row a server and level of `part` with the interval of each figure; empty where none has one."""
    rows = []
    for users, servers in levels(repeats, part):
        for server, own in servers.items():
            ranges = {figure.heading: own.interval(figure) for figure in COMPARED}
            if any(ranges.values()):
                texts = {name: format_range(one, format_significant) for name, one in ranges.items()}
                rows.append({"server": titles.name(server), "users": users, **texts})
    return pd.DataFrame(rows)


def ratios(repeats: dict[Cell, Repeats], part: Slice) -> pd.DataFrame:
    """One row a pair of servers and level of `part`: the later server's figures over the earlier one's."""
    rows = []
    for users, servers in levels(repeats, part):
        for first, second in combinations(servers, 2):
            row = {"servers": f"{titles.name(second)} / {titles.name(first)}", "users": users}
            for figure in COMPARED:
                one, other = servers[first], servers[second]
                effect = SMALLEST_EFFECT_BETWEEN_RUNS if one.reused or other.reused else SMALLEST_EFFECT
                name = figure.heading.partition(",")[0]
                if compared := compare(one, other, figure):
                    row[f"{name} ratio"] = compared.ratio.value
                    row[f"{name} interval"] = format_range(compared.ratio.interval, format_ratio)
                    row[f"{name} is"] = compared.verdict(effect)
            rows.append(row)
    return pd.DataFrame(rows)


def levels(repeats: dict[Cell, Repeats], part: Slice) -> Iterator[tuple[int, dict[str, Repeats]]]:
    """Each number of users in `part`, from few to many, with its servers in their usual order."""
    own = [cell for cell in repeats if Slice(cell.task, cell.workload, cell.texts_per_request) == part]
    for users in sorted({cell.users for cell in own}):
        level = {cell.server: repeats[cell] for cell in own if cell.users == users}
        yield users, {server: level[server] for server in in_order(level, SERVERS)}


def format_range(interval: Interval | None, format_value: Callable[[float], str]) -> str:
    return f"{format_value(interval.low)} to {format_value(interval.high)}" if interval else ABSENT


def format_ratio(value: float) -> str:
    return format_number(value, 3)
