"""The sentences above the charts, made from medians: pure, so a test can hold them to the data."""

from benchmark.charts.axes import format_percent
from benchmark.charts.titles import (
    ALIKE,
    REFERENCE,
    Levels,
    Medians,
    at_level,
    best_and_other,
    change,
    ends,
    from_to,
    inline,
    level_to_compare,
    listed,
    name,
    present,
    span,
    steady,
)
from benchmark.stats.formatting import format_count, format_factor, format_figure, format_users


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
            others.append(f"no server more than the baseline's {task} requests")
        elif best:
            others.append(f"{inline(best)} {format_figure(at[best])} {task} requests a second")
    answers = [
        f"{inline(server)} answers {' and '.join(parts)} requests" for server, parts in factors.items()
    ]
    return f"At {format_users(level)} {', '.join([*answers, *others]) or 'no server has a valid figure'}"


def throughput(medians: Medians, task: str) -> str:
    """Requests a second by users, as a sentence; `medians` in requests a second."""
    medians = present(medians)
    unit = f"{task} requests a second"
    level = level_to_compare(medians)
    if level is None:
        if not medians:
            return f"No valid throughput of {task} was measured"
        server = max(medians, key=lambda one: max(medians[one].values()))
        return f"{name(server)} {_throughput_alone(medians[server], unit)}"
    at = at_level(medians, level)
    best, other = best_and_other(at)
    shown = list(at) if steady(at.values()) else [best, other]
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
    if max(values) == 0:
        return f"answers no request {span(levels)}"
    ends = values[0], values[-1]
    peak, dip = (extreme(levels, key=lambda level: levels[level]) for extreme in (max, min))
    if levels[peak] > ALIKE * max(ends):
        return f"peaks at {format_figure(levels[peak])} {unit} at {format_users(peak)}"
    if ALIKE * levels[dip] < min(ends):
        return f"dips to {format_figure(levels[dip])} {unit} at {format_users(dip)}"
    return f"{change(values)} {unit} {span(levels)}"


def latency(p50: Medians, task: str) -> str:
    """p50 by users, as a sentence; `p50` in ms."""
    p50 = present(p50)
    level = level_to_compare(p50)
    if level is not None:
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
    before = f"at {format_users(min(levels))}"
    if last > first:
        now = f"{format_factor(last / first)} its p50 {before}"
    else:
        now = f"{format_figure(last)} ms, down from {format_figure(first)} {before}"
    return f"At {format_users(max(levels))} {inline(server)}'s p50 is {now}"


def _latency_compared(at: dict[str, float], task: str, users: str) -> str:
    best, other = best_and_other(at, min, min)
    if steady(at.values()):
        return f"{listed(at)} have a like p50 for {task} at {users}: {from_to(at.values())} ms"
    lower, higher = (format_figure(at[server]) for server in (best, other))
    if other != REFERENCE or at[other] <= ALIKE * at[best]:
        return f"At {users} {inline(best)}'s p50 for {task} is {lower} ms, {inline(other)}'s {higher}"
    return f"{name(best)} cuts {inline(other)}'s p50 from {higher} to {lower} ms at {users}"


def tradeoff(rps: Medians, p95: Medians, task: str) -> str:
    """p95 (ms) by achieved requests a second, as a sentence."""
    points = {
        server: [(rps[server][level], tails[level]) for level in sorted(tails)]
        for server, tails in present(p95).items()
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
            best, other = best_and_other(figures, min)
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
            return f"{listed(peak_mb)} peak at {from_to(peak_mb.values())} MB of memory"
        least, other = best_and_other(peak_mb, min)
        figures = format_figure(peak_mb[least]), format_figure(peak_mb[other])
        return f"{name(least)} peaks at {figures[0]} MB of memory, {inline(other)} at {figures[1]}"
    server = next(iter(peak_mb or ready_s), "")
    parts = [f"is ready in {format_figure(ready_s[server])} s"] if server in ready_s else []
    parts += [f"peaks at {format_figure(peak_mb[server])} MB of memory"] if server in peak_mb else []
    return f"{name(server)} {' and '.join(parts)}" if parts else "No cold start was measured"


def queue(shares: Medians) -> str:
    """How much of a request's time is spent in the queue, as a sentence; `shares` from 0 to 1."""
    shares = present(shares)
    common = set.intersection(*(set(levels) for levels in shares.values()))
    if len(shares) > 1 and common:
        level = max(common)
        at = at_level(shares, level)
        most, least = (pick(at, key=lambda one: at[one]) for pick in (max, min))
        longer, shorter = format_percent(at[most]), format_percent(at[least])
        where = "every server" if longer == shorter else f"{inline(most)}, {shorter} on {inline(least)}"
        return f"At {format_users(level)} the queue takes {longer} of a request's time on {where}"
    server = max(shares, key=lambda one: max(shares[one].values()))
    now, where = ends(shares[server], format_percent)
    return f"The queue takes {now} of a request's time on {inline(server)} {where}"


def batch_size(medians: Medians, task: str) -> str:
    """How many texts a batch holds, as a sentence, of the server whose batches are largest."""
    medians = present(medians)
    server = max(medians, key=lambda one: medians[one][max(medians[one])])
    now, where = ends(medians[server], format_figure)
    return f"{name(server)}'s {task} batches hold {now} {'text' if now == '1' else 'texts'} {where}"
