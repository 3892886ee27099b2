"""The words that sentences above the charts are made of.

`Medians` maps server -> users -> figure. A level without a valid figure is absent.
"""

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


def steady(values: list[float]) -> bool:
    """Whether all `values` are alike."""
    return bool(values) and max(values) <= ALIKE * min(values)


def staying(values: list[float]) -> str:
    """Where every value prints alike "at 12", else "near" the one in the middle, in two digits."""
    if len({format_figure(value) for value in values}) == 1:
        return f"at {format_figure(values[0])}"
    middle = sorted(values)[len(values) // 2]
    return f"near {format_figure(float(f'{middle:.2g}'))}"


def span(levels: Levels) -> str:
    return f"from {min(levels):,} to {format_users(max(levels))}"


def level_to_compare(medians: Medians) -> int | None:
    """The most users at which the most servers, the baseline among them, have a figure."""
    counts: dict[int, int] = {}
    for server, levels in medians.items():
        for level in levels:
            if server == REFERENCE or level in medians.get(REFERENCE, levels):
                counts[level] = counts.get(level, 0) + 1
    if not counts or max(counts.values()) < 2:
        return None
    return max(level for level, count in counts.items() if count == max(counts.values()))


def at_level(medians: Medians, level: int) -> dict[str, float]:
    return {server: levels[level] for server, levels in medians.items() if level in levels}


def present(medians: Medians) -> Medians:
    return {server: levels for server, levels in medians.items() if levels}


def possessive(server: str) -> str:
    return f"{inline(server)}'s"


def highest_other(at: dict[str, float], best: str) -> str:
    return max((server for server in at if server != best), key=lambda server: at[server])


def listed(servers: dict[str, float]) -> str:
    """Every one of `servers` by name, as a sentence's subject."""
    first, *others = servers
    *middle, last = [name(first), *(inline(server) for server in others)]
    return f"{', '.join(middle)} and {last}"
