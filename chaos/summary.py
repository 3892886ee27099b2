"""What a run came to, as a record, a table, and the first offenders."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from chaos.run import Result
from chaos.verdicts import LOST, SURPLUS, UNEXPECTED, WRONG

SHOWN_OF_A_KIND = 5
JUDGED = (WRONG, LOST, SURPLUS, UNEXPECTED)


def record(result: Result) -> dict[str, Any]:
    """All figures of a run, for a JSON file."""
    kinds: dict[str, Counter[str]] = {}
    for outcome in result.outcomes:
        became = str(outcome.answer.status) if outcome.answer else outcome.lost
        kinds.setdefault(outcome.ask.kind, Counter())[became] += 1
    found = Counter(kind for kind, _ in result.breaches)
    return {
        "plan": asdict(result.plan) | {"mix": asdict(result.plan.mix), "texts": result.plan.texts()},
        "passed": not result.breaches,
        "requests": len(result.outcomes),
        "outcomes_by_kind": {kind: dict(counts.most_common()) for kind, counts in sorted(kinds.items())},
        "faults": dict(sorted(result.faults.items())),
        "breaches": dict(found),
        "first_breaches": first_of_each(result.breaches),
        "dropped": result.dropped,
        "refused": result.refused,
        "warm": asdict(result.warm) if result.warm else None,
        "rested": asdict(result.rested) if result.rested else None,
        "in_flight_at_stop": result.stopped_at,
        "stop_s": round(result.stop_s, 2),
        "duration_s": round(result.duration_s, 1),
    }


def first_of_each(breaches: Iterable[tuple[str, str]]) -> list[str]:
    shown: Counter[str] = Counter()
    lines = []
    for kind, what in breaches:
        shown[kind] += 1
        if shown[kind] <= SHOWN_OF_A_KIND:
            lines.append(f"{kind}: {what}")
    return lines


def table(records: list[dict[str, Any]]) -> Table:
    """A column a server."""
    shown = Table(title="Chaos")
    shown.add_column("")
    for one in records:
        shown.add_column(one["plan"]["server"].replace("_", " "), justify="right")
    for name, cells in rows(records):
        shown.add_row(name, *cells)
    return shown


def rows(records: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    statuses = [sum((Counter(of) for of in one["outcomes_by_kind"].values()), Counter()) for one in records]
    lines: list[tuple[str, list[str]]] = [
        ("requests", [f"{one['requests']:,}" for one in records]),
        ("of these a translation, at most", [f"{one['plan']['mix']['translated']:.0%}" for one in records]),
        ("clients", [str(one["plan"]["clients"]) for one in records]),
    ]
    for became in sorted({became for of in statuses for became in of}):
        name = f"answered {became}" if became.isdigit() else became
        lines.append((name, [f"{of[became]:,}" for of in statuses]))
    for fault in sorted({fault for one in records for fault in one["faults"]}):
        lines.append((fault, [str(one["faults"].get(fault, "-")) for one in records]))
    for kind in JUDGED:
        lines.append(
            (
                f"{kind}s".replace("statuss", "statuses"),
                [str(one["breaches"].get(kind, 0)) for one in records],
            )
        )
    others = [sum(count for kind, count in one["breaches"].items() if kind not in JUDGED) for one in records]
    lines.append(("other breaches, leaks among them", [str(count) for count in others]))
    for name, field, scale in (
        ("memory, MB, warm to end", "rss_bytes", 1e-6),
        ("open files, warm to end", "open_files", 1),
        ("threads, warm to end", "threads", 1),
    ):
        cells = [f"{one['warm'][field] * scale:.0f} to {one['rested'][field] * scale:.0f}" for one in records]
        lines.append((name, cells))
    lines.append(("requests under way at SIGTERM", [str(one["in_flight_at_stop"]) for one in records]))
    lines.append(("stopped after, s", [f"{one['stop_s']:.1f}" for one in records]))
    lines.append(("took, s", [f"{one['duration_s']:.0f}" for one in records]))
    lines.append(("result", ["passed" if one["passed"] else "FAILED" for one in records]))
    return lines
