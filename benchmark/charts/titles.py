"""The sentences above the charts, made from medians: pure, so a test can hold them to the data.

`Medians` maps server -> users -> figure. A level or server without a valid figure is absent.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from benchmark.stats.formatting import (
    format_count,
    format_factor,
    format_figure,
    format_percent,
    format_users,
)

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


def headline(rates: dict[str, dict[str, float]], level: int) -> str:
    """Which server answers most, as a sentence; `rates`: task -> server -> requests a second."""
    factors: dict[str, list[str]] = {}
    others = []
    for task, at in rates.items():
        best, reference = max(at, key=lambda server: at[server], default=""), at.get(REFERENCE)
        if reference and at[best] > ALIKE * reference:
            whose = "its" if best in factors else "the baseline's"
            factors.setdefault(best, []).append(f"{format_factor(at[best] / reference)} {whose} {task}")
        elif reference and len(at) > 1:
            others.append(f"no server answers more {task} requests than the baseline")
        elif best:
            others.append(f"{inline(best)} answers {format_figure(at[best])} {task} requests a second")
    answers = [f"{inline(one)} answers {' and '.join(parts)} requests" for one, parts in factors.items()]
    return f"At {format_users(level)} {', '.join([*answers, *others]) or 'no server has a valid figure'}"


def throughput(medians: Medians, task: str) -> str:
    """Requests a second by users, as a sentence; `medians` in requests a second."""
    unit = f"{task} requests a second"
    level = level_to_compare(medians)
    if not medians:
        return f"No valid throughput of {task} was measured"
    if level is None:
        server = max(medians, key=lambda one: max(medians[one].values()))
        return f"{name(server)} {_throughput_alone(medians[server], unit)}"
    at = at_level(medians, level)
    best, other = best_and_other(at)
    shown = [*at] if steady(at.values()) else [best, other]
    if steady(rates := [at[server] for server in shown]):
        return f"{listed(shown)} answer alike at {format_users(level)}: {from_to(rates)} {unit}"
    if at[other] == 0:
        answered = f"{format_figure(at[best])} {unit} at {format_users(level)}"
        return f"{name(best)} answers {answered}, {inline(other)} none"
    factor = format_factor(at[best] / at[other])
    return f"{name(best)} answers {factor} {inline(other)}'s {task} requests at {format_users(level)}"


def _throughput_alone(levels: Levels, unit: str) -> str:
    values = [levels[level] for level in sorted(levels)]
    if len(values) == 1:
        return f"answers {format_figure(values[0])} {unit} at {format_users(min(levels))}"
    ends = sorted((values[0], values[-1]))
    for verb, extreme in (("peaks at", max), ("dips to", min)):
        level = extreme(levels, key=lambda level: levels[level])
        if not ends[0] / ALIKE <= levels[level] <= ends[1] * ALIKE:
            return f"{verb} {format_figure(levels[level])} {unit} at {format_users(level)}"
    return f"{change(values)} {unit} {span(levels)}"


def latency(p50: Medians, task: str) -> str:
    """p50 by users, as a sentence; `p50` in ms."""
    if level := level_to_compare(p50):
        return _latency_compared(at_level(p50, level), task, format_users(level))
    if not p50:
        return f"Too few valid {task} requests for a p50"
    server = REFERENCE if REFERENCE in p50 else min(p50)
    levels = p50[server]
    first, last = (levels[level] for level in (min(levels), max(levels)))
    if len(levels) == 1:
        return f"{name(server)}'s p50 is {format_figure(first)} ms at {format_users(min(levels))}"
    if steady([first, last]):
        return f"{name(server)}'s p50 {change([levels[one] for one in sorted(levels)])} ms {span(levels)}"
    factor = f"{format_factor(last / first)} its p50"
    now = factor if last > first else f"{format_figure(last)} ms, down from {format_figure(first)}"
    return f"At {format_users(max(levels))} {inline(server)}'s p50 is {now} at {format_users(min(levels))}"


def _latency_compared(at: dict[str, float], task: str, users: str) -> str:
    best, other = best_and_other(at, lowest=True)
    if steady(at.values()):
        return f"{listed([*at])} have a like p50 for {task} at {users}: {from_to(at.values())} ms"
    lower, higher = (format_figure(at[server]) for server in (best, other))
    if other != REFERENCE or at[other] <= ALIKE * at[best]:
        return f"At {users} {inline(best)}'s p50 for {task} is {lower} ms, {inline(other)}'s {higher}"
    return f"{name(best)} cuts {inline(other)}'s p50 from {higher} to {lower} ms at {users}"


def tradeoff(rps: Medians, p95: Medians, task: str) -> str:
    """p95 (ms) by achieved requests a second, as a sentence."""
    points = {
        server: [(rps[server][level], tail) for level, tail in sorted(levels.items())]
        for server, levels in p95.items()
    }
    if not points:
        return f"Too few valid {task} requests for a p95"
    peaks = {server: max(pairs) for server, pairs in points.items()}
    if len(points) > 1:
        best, other = best_and_other({server: rate for server, (rate, _) in peaks.items()})
        rate, tail, rate_of_other, tail_of_other = map(format_figure, (*peaks[best], *peaks[other]))
        reached = f"{rate} requests a second at a p95 of {tail} ms"
        return f"{name(best)} reaches {reached}, {inline(other)} {rate_of_other} at {tail_of_other}"
    ((server, pairs),) = points.items()
    rates, tails = zip(*pairs, strict=True)
    if len(pairs) == 1:
        rate, tail = map(format_figure, pairs[0])
        return f"{name(server)}'s p95 is {tail} ms at {rate} requests a second"
    return f"{name(server)}'s p95 {change(tails)} ms while throughput {change(rates)} a second"


def distribution(p50: dict[str, float], p95: dict[str, float], level: int, task: str) -> str:
    """The spread of latencies at one level, as a sentence; `p50` and `p95` in ms by server."""
    at = f"At {format_users(level)}"
    for share, figures in (("95 %", p95), ("half", p50)):
        if len(figures) > 1:
            best, other = best_and_other(figures, lowest=True)
            lower, higher = (format_figure(figures[server]) for server in (best, other))
            limits = f"{lower} ms, {inline(other)}'s within {higher}"
            return f"{at} {share} of {inline(best)}'s answers come within {limits}"
    for server, middle in p50.items():
        if server in p95:
            return f"{at} {inline(server)}'s p95 is {format_factor(p95[server] / middle)} its p50"
        return f"{at} half of {inline(server)}'s answers come within {format_figure(middle)} ms"
    return f"Too few valid {task} requests at {format_users(level)} for a p50"


def timeline(server: str, halves: tuple[float, float] | None, answers: int, duration_s: float) -> str:
    """Whether a cell was steady; `halves` is the p50 in ms of the window's first and second half."""
    window = f"the {format_figure(duration_s)} s measured"
    if halves is None:
        return f"{name(server)} answers {format_count(answers, 'request')} in {window}"
    return f"{name(server)}'s p50 {change(halves, rise='rises')} ms over the two halves of {window}"


def footprint(ready_s: dict[str, float], peak_mb: dict[str, float]) -> str:
    """Cold start (s) and peak memory (MB) by server, as a sentence."""
    if len(peak_mb) > 1:
        if steady(peak_mb.values()):
            return f"{listed([*peak_mb])} peak at {from_to(peak_mb.values())} MB of memory"
        least, other = best_and_other(peak_mb, lowest=True)
        lower, higher = (format_figure(peak_mb[server]) for server in (least, other))
        return f"{name(least)} peaks at {lower} MB of memory, {inline(other)} at {higher}"
    server = next(iter(peak_mb or ready_s), "")
    parts = [f"is ready in {format_figure(ready_s[server])} s"] if server in ready_s else []
    parts += [f"peaks at {format_figure(peak_mb[server])} MB of memory"] if server in peak_mb else []
    return f"{name(server)} {' and '.join(parts)}" if parts else "No cold start was measured"


def queue(shares: Medians) -> str:
    """How much of a request's time is spent in the queue, as a sentence; `shares` from 0 to 1."""
    if level := level_to_compare(shares):
        at = at_level(shares, level)
        most, *_, least = sorted(at, key=lambda server: -at[server])
        longer, shorter = format_percent(at[most]), format_percent(at[least])
        where = "every server" if longer == shorter else f"{inline(most)}, {shorter} on {inline(least)}"
        return f"At {format_users(level)} the queue takes {longer} of a request's time on {where}"
    server = max(shares, key=lambda one: max(shares[one].values()))
    now, where = ends(shares[server], format_percent)
    return f"The queue takes {now} of a request's time on {inline(server)} {where}"


def batch_size(medians: Medians, task: str) -> str:
    """How many texts a batch holds, as a sentence, of the server whose batches are largest."""
    server = max(medians, key=lambda one: medians[one][max(medians[one])])
    now, where = ends(medians[server], format_figure)
    return f"{name(server)}'s {task} batches hold {now} {'text' if now == '1' else 'texts'} {where}"


def listed(servers: Sequence[str]) -> str:
    """Every one of `servers` by name, as a sentence's subject."""
    names = [name(servers[0]), *map(inline, servers[1:])]
    return f"{', '.join(names[:-1])} and {names[-1]}"


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


def best_and_other(figures: Mapping[str, float], lowest: bool = False) -> tuple[str, str]:
    """The best of two or more servers, and the one to compare it with: the baseline, else the second best."""
    best, second, *_ = sorted(figures, key=lambda server: figures[server], reverse=not lowest)
    return best, REFERENCE if REFERENCE in figures and best != REFERENCE else second
