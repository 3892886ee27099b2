"""The words that sentences above the charts are made of.

`Medians` maps server -> users -> figure. A level without a valid figure is absent.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from benchmark.stats.formatting import format_figure, format_users

Levels = dict[int, float]
Medians = dict[str, Levels]

NAMES = {"baseline": "Baseline", "optimized": "Optimized", "dynamic_batching": "Dynamic batching"}
REFERENCE = "baseline"

# Two figures nearer than this are called equal: repeats of one cell differ by as much.
ALIKE = 1.10


def name(server: str) -> str:
    """A server's name at a sentence's start or on a label."""
    plain = server.replace("_", " ")
    return NAMES.get(server, plain[:1].upper() + plain[1:])


def inline(server: str) -> str:
    """A server's name within a sentence."""
    return "the baseline" if server == REFERENCE else server.replace("_", " ")


def listed(servers: Iterable[str]) -> str:
    """Every one of `servers` by name, as a sentence's subject."""
    first, *others = servers
    *middle, last = [name(first), *map(inline, others)]
    return f"{', '.join(middle)} and {last}"


def steady(values: Collection[float]) -> bool:
    """Whether all `values` are alike."""
    return max(values) <= ALIKE * min(values)


def change(values: Sequence[float], rise: str = "grows", fall: str = "falls") -> str:
    """How `values` go from the first to the last: "stays near 12", "grows from 12 to 250"."""
    first, last = (format_figure(value) for value in (values[0], values[-1]))
    if steady([values[0], values[-1]]) or first == last:
        middle = sorted(values)[len(values) // 2]
        alike = len({format_figure(value) for value in values}) == 1
        return f"stays at {first}" if alike else f"stays near {format_figure(float(f'{middle:.2g}'))}"
    return f"{rise if values[-1] > values[0] else fall} from {first} to {last}"


def from_to(values: Collection[float]) -> str:
    """The least and the most of `values`, once where both print alike."""
    return " to ".join(dict.fromkeys(format_figure(value) for value in (min(values), max(values))))


def span(levels: Levels) -> str:
    return f"from {min(levels):,} to {format_users(max(levels))}"


def ends(levels: Levels, show: Callable[[float], str]) -> tuple[str, str]:
    """The figure at the most users, and what follows it: "at 100 users, 4.2 at 10"."""
    now, before = (show(levels[level]) for level in (max(levels), min(levels)))
    rest = "" if now == before else f", {before} at {min(levels):,}"
    return now, f"at {format_users(max(levels))}{rest}"


def level_to_compare(medians: Medians) -> int | None:
    """The most users at which the most servers, the baseline among them, have a figure."""
    required = medians.get(REFERENCE)
    counts = Counter(
        level for levels in medians.values() for level in levels if not required or level in required
    )
    most = max(counts.values(), default=0)
    return max(level for level in counts if counts[level] == most) if most >= 2 else None


def at_level(medians: Medians, level: int) -> dict[str, float]:
    return {server: levels[level] for server, levels in medians.items() if level in levels}


def present(medians: Medians) -> Medians:
    return {server: levels for server, levels in medians.items() if levels}


def best_and_other(
    figures: Mapping[str, float], best: Callable[..., str] = max, second: Callable[..., str] = max
) -> tuple[str, str]:
    """The best of two or more servers, and the one that it is compared with: the baseline where it can be."""
    first = best(figures, key=lambda server: figures[server])
    others = [server for server in figures if server != first]
    return first, REFERENCE if REFERENCE in others else second(others, key=lambda server: figures[server])
