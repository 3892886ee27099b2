"""The sentences above the charts, made from medians: pure, so a test can hold them to the data."""

from benchmark.charts.titles import (
    ALIKE,
    REFERENCE,
    Levels,
    Medians,
    at_level,
    highest_other,
    inline,
    level_to_compare,
    listed,
    name,
    possessive,
    present,
    span,
    staying,
    steady,
)
from benchmark.stats.formatting import format_factor, format_figure, format_users


def headline(rates: dict[str, dict[str, float]], level: int) -> str:
    """Which server answers most, as a sentence; `rates`: task -> server -> requests a second."""
    by_server: dict[str, list[str]] = {}
    rest = []
    for task, found in rates.items():
        best, reference = max(found, key=lambda one: found[one], default=""), found.get(REFERENCE)
        if reference and found[best] > ALIKE * reference:
            whose = "its" if best in by_server else "the baseline's"
            by_server.setdefault(best, []).append(f"{format_factor(found[best] / reference)} {whose} {task}")
        elif reference and len(found) > 1:
            rest.append(f"no server more than the baseline's {task} requests")
        elif best:
            rest.append(f"{inline(best)} {format_figure(found[best])} {task} requests a second")
    told = [f"{inline(who)} answers {' and '.join(parts)} requests" for who, parts in by_server.items()]
    return f"At {format_users(level)} {', '.join([*told, *rest]) or 'no server has a valid figure'}"


def throughput(medians: Medians, task: str) -> str:
    """Requests a second by users, as a sentence; `medians` in requests a second."""
    medians = present(medians)
    level = level_to_compare(medians)
    if level is not None:
        return _throughput_compared(at_level(medians, level), level, task)
    if not medians:
        return f"No valid throughput of {task} was measured"
    server = max(medians, key=lambda one: max(medians[one].values()))
    return _throughput_alone(name(server), medians[server], f"{task} requests a second")


def _throughput_compared(at: dict[str, float], level: int, task: str) -> str:
    best = max(at, key=lambda server: at[server])
    if steady(list(at.values())):
        figures = [format_figure(min(at.values())), format_figure(max(at.values()))]
        told = " to ".join(dict.fromkeys(figures))
        return f"{listed(at)} answer alike at {format_users(level)}: {told} {task} requests a second"
    other = REFERENCE if REFERENCE in at and best != REFERENCE else highest_other(at, best)
    if at[best] <= ALIKE * at[other]:
        rest = f"{name(best)} and {inline(other)} answer alike at {format_users(level)}"
        return f"{rest}: {format_figure(at[best])} and {format_figure(at[other])} {task} requests a second"
    if at[other] == 0:
        told = f"{format_figure(at[best])} {task} requests a second"
        return f"{name(best)} answers {told} at {format_users(level)}, {inline(other)} none"
    ratio = format_factor(at[best] / at[other])
    return f"{name(best)} answers {ratio} {possessive(other)} {task} requests at {format_users(level)}"


def _throughput_alone(who: str, levels: Levels, unit: str) -> str:
    values = [levels[level] for level in sorted(levels)]
    if len(values) == 1:
        return f"{who} answers {format_figure(values[0])} {unit} at {format_users(min(levels))}"
    if max(values) == 0:
        return f"{who} answers no request {span(levels)}"
    if steady(values):
        return f"{who} stays {staying(values)} {unit} {span(levels)}"
    first, last = values[0], values[-1]
    if _rising(values):
        return f"{who} grows from {format_figure(first)} to {format_figure(last)} {unit} {span(levels)}"
    if _rising(values[::-1]):
        return f"{who} falls from {format_figure(first)} to {format_figure(last)} {unit} {span(levels)}"
    peak = max(levels, key=lambda level: levels[level])
    if peak not in (min(levels), max(levels)):
        return f"{who} peaks at {format_figure(levels[peak])} {unit} at {format_users(peak)}"
    return f"{who} answers {format_figure(min(values))} to {format_figure(max(values))} {unit} {span(levels)}"


def latency(p50: Medians, task: str) -> str:
    """p50 by users, as a sentence; `p50` in ms."""
    p50 = present(p50)
    level = level_to_compare(p50)
    if level is not None:
        return _latency_compared(at_level(p50, level), level, task)
    if not p50:
        return f"Too few valid {task} requests for a p50"
    server = REFERENCE if REFERENCE in p50 else min(p50)
    levels = p50[server]
    first, last = min(levels), max(levels)
    if first == last:
        return f"{name(server)}'s p50 is {format_figure(levels[first])} ms at {format_users(first)}"
    if steady(list(levels.values())):
        values = [levels[one] for one in sorted(levels)]
        return f"{name(server)}'s p50 stays {staying(values)} ms {span(levels)}"
    ratio = levels[last] / levels[first]
    if max(ratio, 1 / ratio) <= ALIKE:
        return (
            f"At {format_users(last)} {possessive(server)} p50 is "
            f"{format_figure(levels[last])} ms, as at {format_users(first)}"
        )
    if ratio < 1:
        told = (
            f"{format_figure(levels[last])} ms, down from {format_figure(levels[first])} at "
            f"{format_users(first)}"
        )
        return f"At {format_users(last)} {possessive(server)} p50 is {told}"
    return (
        f"At {format_users(last)} {possessive(server)} p50 is {format_factor(ratio)} "
        f"its p50 at {format_users(first)}"
    )


def _latency_compared(at: dict[str, float], level: int, task: str) -> str:
    best = min(at, key=lambda server: at[server])
    if steady(list(at.values())):
        figures = [format_figure(min(at.values())), format_figure(max(at.values()))]
        told = " to ".join(dict.fromkeys(figures))
        return f"{listed(at)} have a like p50 for {task} at {format_users(level)}: {told} ms"
    if best == REFERENCE or REFERENCE not in at:
        second = min((one for one in at if one != best), key=lambda server: at[server])
        told = f"{format_figure(at[best])} ms, {possessive(second)} {format_figure(at[second])}"
        return f"At {format_users(level)} {possessive(best)} p50 for {task} is {told}"
    if at[REFERENCE] <= ALIKE * at[best]:
        told = f"{format_figure(at[best])} ms, {possessive(REFERENCE)} {format_figure(at[REFERENCE])}"
        return f"At {format_users(level)} {possessive(best)} p50 for {task} is {told}"
    told = f"from {format_figure(at[REFERENCE])} to {format_figure(at[best])} ms"
    return f"{name(best)} cuts {possessive(REFERENCE)} p50 {told} at {format_users(level)}"


def tradeoff(rps: Medians, p95: Medians, slo_ms: float | None, task: str) -> str:
    """p95 (ms) by achieved requests a second, as a sentence; held against `slo_ms` where there is one."""
    both = {
        server: {level: (rps[server][level], p95[server][level]) for level in rps[server].keys() & tails}
        for server, tails in p95.items()
        if server in rps
    }
    both = {server: levels for server, levels in both.items() if levels}
    if not both:
        return f"Too few valid {task} requests for a p95"
    if slo_ms is not None:
        return _held({server: list(levels.values()) for server, levels in both.items()}, slo_ms)
    peaks = {server: max(levels.values()) for server, levels in both.items()}
    server = max(peaks, key=lambda one: peaks[one])
    if len(both) > 1:
        highest = {one: rate for one, (rate, _) in peaks.items()}
        other = REFERENCE if REFERENCE in both and server != REFERENCE else highest_other(highest, server)
        told = (
            f"{format_figure(highest[server])} requests a second at a p95 of "
            f"{format_figure(peaks[server][1])} ms"
        )
        rest = f"{inline(other)} {format_figure(highest[other])} at {format_figure(peaks[other][1])}"
        return f"{name(server)} reaches {told}, {rest}"
    levels = both[server]
    (rate, tail), (_, first_tail) = levels[max(levels)], levels[min(levels)]
    if len(levels) == 1:
        return f"{name(server)}'s p95 is {format_figure(tail)} ms at {format_figure(rate)} requests a second"
    rates = [pair[0] for pair in levels.values()]
    while_rate = f"throughput stays {staying(rates)} a second" if steady(rates) else "throughput moves"
    if not steady(rates):
        while_rate = (
            f"throughput goes from {format_figure(levels[min(levels)][0])} to {format_figure(rate)} a second"
        )
    return (
        f"{name(server)}'s p95 goes from {format_figure(first_tail)} to "
        f"{format_figure(tail)} ms while {while_rate}"
    )


def _held(points: dict[str, list[tuple[float, float]]], slo_ms: float) -> str:
    limit = f"p95 within {format_figure(slo_ms)} ms"
    held = {
        server: max((rate for rate, tail in pairs if tail <= slo_ms), default=0.0)
        for server, pairs in points.items()
    }
    best = max(held, key=lambda server: held[server])
    if held[best] == 0:
        least = min(tail for pairs in points.values() for _, tail in pairs)
        who = f"{name(best)} never keeps" if len(held) == 1 else "No server keeps"
        return f"{who} {limit}: the lowest is {format_figure(least)} ms"
    sentence = f"{name(best)} keeps {limit} at {format_figure(held[best])} requests a second"
    if len(held) == 1:
        return sentence
    other = REFERENCE if REFERENCE in held and best != REFERENCE else highest_other(held, best)
    return (
        f"{sentence}, {inline(other)} {'at ' + format_figure(held[other]) if held[other] else 'at no level'}"
    )


def distribution(p50: dict[str, float], p95: dict[str, float], level: int, task: str) -> str:
    """The spread of latencies at one level, as a sentence; `p50` and `p95` in ms by server."""
    for share, found in (("95 %", p95), ("half", p50)):
        if len(found) >= 2:
            best = min(found, key=lambda server: found[server])
            other = REFERENCE if REFERENCE in found and best != REFERENCE else highest_other(found, best)
            told = (
                f"{format_figure(found[best])} ms, {possessive(other)} within {format_figure(found[other])}"
            )
            return f"At {format_users(level)} {share} of {possessive(best)} answers come within {told}"
    for server, tail in p95.items():
        if server in p50:
            return (
                f"At {format_users(level)} {possessive(server)} p95 is "
                f"{format_factor(tail / p50[server])} its p50"
            )
    for server, middle in p50.items():
        return (
            f"At {format_users(level)} half of {possessive(server)} answers come within "
            f"{format_figure(middle)} ms"
        )
    return f"Too few valid {task} requests at {format_users(level)} for a p50"


def timeline(server: str, halves: tuple[float, float] | None, answers: int, duration_s: float) -> str:
    """Whether a cell was steady; `halves` is the p50 in ms of the window's first and second half."""
    window = f"the {format_figure(duration_s)} s measured"
    if halves is None:
        noun = "request" if answers == 1 else "requests"
        return f"{name(server)} answers {answers:,} {noun} in {window}"
    first, second = halves
    if steady([first, second]):
        return f"{name(server)}'s p50 stays {staying([first, second])} ms through {window}"
    moves = "rises" if second > first else "falls"
    told = f"from {format_figure(first)} to {format_figure(second)} ms between the halves of {window}"
    return f"{name(server)}'s p50 {moves} {told}"


def footprint(ready_s: dict[str, float], peak_mb: dict[str, float]) -> str:
    """Cold start (s) and peak memory (MB) by server, as a sentence."""
    if len(peak_mb) >= 2:
        least = min(peak_mb, key=lambda server: peak_mb[server])
        if steady(list(peak_mb.values())):
            return f"{listed(peak_mb)} peak {staying(list(peak_mb.values()))} MB of memory"
        other = REFERENCE if REFERENCE in peak_mb and least != REFERENCE else highest_other(peak_mb, least)
        told = (
            f"{format_figure(peak_mb[least])} MB of memory, {inline(other)} at "
            f"{format_figure(peak_mb[other])}"
        )
        return f"{name(least)} peaks at {told}"
    parts = []
    server = next(iter(peak_mb or ready_s), "")
    if server in ready_s:
        parts.append(f"is ready in {format_figure(ready_s[server])} s")
    if server in peak_mb:
        parts.append(f"peaks at {format_figure(peak_mb[server])} MB of memory")
    return f"{name(server)} {' and '.join(parts)}" if parts else "No cold start was measured"


def _rising(values: list[float]) -> bool:
    """Whether it ends higher than it began, and never falls below a former value by more than repeats do."""
    return values[-1] > ALIKE * values[0] and all(
        value * ALIKE >= max(values[: index + 1]) for index, value in enumerate(values)
    )
