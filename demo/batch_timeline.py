"""The batch timeline of the last moments of a comparison, from the trace of dynamic_batching."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MAX_TEXTS = 150
MAX_WINDOW_S = 2.0


@dataclass(frozen=True)
class Span:
    """A text in the batch; times in ms from the start of the window, negative before it.

    `row` is its place in the drawing: the lowest that is free when it joins. It was encoded until
    `decoding_ms`, which is `joined_ms` where the trace does not hold that.
    """

    row: int
    joined_ms: float
    decoding_ms: float
    left_ms: float


def clear_trace(path: Path) -> None:
    """Empties the trace, to which its server goes on appending."""
    with path.open("w"):
        pass


def batch_timeline(path: Path, task: str) -> dict[str, Any] | None:
    """The texts of `task` in the last moments before the last one joined; None where there are none.

    Keys: window_ms, texts (each a Span), joined and left (how many in the window), most (at once).
    """
    texts, decoding_s = read_trace(path, task)
    if not texts:
        return None
    end_s = texts[-1][0]
    start_s = max(end_s - MAX_WINDOW_S, texts[max(0, len(texts) - MAX_TEXTS)][0])
    shown = [(joined_s, left_s) for joined_s, left_s in texts if left_s > start_s]
    rows: list[float] = []  # when the last text of each row left
    spans, most = [], 0
    for joined_s, left_s in shown:
        row = next((row for row, free_s in enumerate(rows) if free_s <= joined_s), len(rows))
        rows[row : row + 1] = [left_s]
        most = max(most, sum(free_s > joined_s for free_s in rows))
        times_s = (joined_s, decoding_s.get(joined_s, joined_s), left_s)
        spans.append(Span(row, *((time_s - start_s) * 1e3 for time_s in times_s)))
    window_ms = (end_s - start_s) * 1e3
    return {
        "task": task,
        "window_ms": window_ms,
        "texts": [asdict(span) for span in spans],
        "joined": sum(0 <= span.joined_ms <= window_ms for span in spans),
        "left": sum(0 <= span.left_ms <= window_ms for span in spans),
        "most": most,
    }


def read_trace(path: Path, task: str) -> tuple[list[tuple[float, float]], dict[float, float]]:
    """When each answered text joined and left, in order; when those that joined together were encoded."""
    texts, decoding_s = [], {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        if event["task"] != task:
            continue
        if event["event"] == "join":
            decoding_s[event["started_s"]] = event["decoding_s"]
        elif event["answered"]:
            texts.append((event["started_s"], event["ended_s"]))
    return sorted(texts), decoding_s
