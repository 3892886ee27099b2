"""Other serving systems beside ours: the tables of a comparison's servers.json."""

from collections.abc import Iterator
from typing import Any

from benchmark.report.markdown import TOO_FEW
from benchmark.stats.formatting import ABSENT, format_figure
from benchmark.stats.intervals import Interval, Ratio, format_ratio

MB = 1e6


def server_rows(task: dict[str, Any], users: int) -> Iterator[dict[str, str]]:
    """A row a server: its speed at this number of users, and what a server costs."""
    for server in task["servers"]:
        level = server["levels"].get(str(users), {})
        memory = server["memory_bytes"]
        yield {
            "server": server["title"],
            "requests/s": format_figure(level.get("throughput_rps")),
            "ours is": our_factor(level),
            "p95, ms": format_figure(level.get("p95_ms"), TOO_FEW["p95, ms"] if level else ABSENT),
            "capacity, requests/s": format_figure(server["capacity_rps"]),
            "cold start, s": format_figure(server["cold_start_s"]),
            "memory, MB": format_figure(memory and memory / MB),
            "lines of code": format_figure(server["lines_of_code"]),
        }


def our_factor(level: dict[str, Any]) -> str:
    """Our requests per second over these, with the 95 % interval of the rounds."""
    if level.get("ratio") is None:
        return ABSENT
    low, high = level["ratio_low"], level["ratio_high"]
    interval = None if low is None else Interval(low, high)
    return format_ratio(level["ratio"], Ratio(level["ratio"], interval))


def setting_rows(task: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A row a peer: its versions, its fastest settings, and whether it answers as its engine does alone."""
    for server in task["servers"]:
        if not server["settings_tried"] and not server["error"]:
            continue
        settings = ", ".join(f"{name} {value:g}" for name, value in server["settings"].items())
        same = server["same_answers"]
        yield {
            "server": server["title"],
            "versions": ", ".join(f"{name} {version}" for name, version in server["versions"].items())
            or ABSENT,
            "fastest settings": f"{settings or ABSENT} (best of {server['settings_tried']})",
            "same answers as its engine alone": ABSENT if same is None else f"{same:.0%}",
            "error": server["error"] or ABSENT,
        }
