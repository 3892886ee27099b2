"""What became of each text, written down for those who want to see the batch's life; off unless asked for."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from .sequence import Sequence, Steps

log = logging.getLogger(__name__)


class Trace:
    """Appends JSON lines to a file; times are of the schedulers' clock, in seconds. For the event loop.

    `{"event": "join", "task", "started_s", "decoding_s"}`: texts left the queue together and were encoded.
    `{"event": "text", "task", "admitted_s", "started_s", "ended_s", "tokens", "answered"}`: a text ended; it
    left the queue at `started_s`, with those of that join where it was decoded in slots.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be written."""
        self._file: TextIO | None = path.open("a", buffering=1)

    def write(self, task: str, sequences: Iterable[Sequence], report: object, ended_s: float) -> None:
        """Texts that ended together, and the joins before them; logs it where it cannot go on, and ends."""
        if self._file is None:
            return
        joins = report.joins if isinstance(report, Steps) else []
        lines: list[dict[str, object]] = [
            {"event": "join", "task": task, "started_s": started_s, "decoding_s": decoding_s}
            for started_s, decoding_s in joins
        ]
        lines += [
            {
                "event": "text",
                "task": task,
                "admitted_s": sequence.request.admitted_s,
                "started_s": sequence.scheduled_s,
                "ended_s": ended_s,
                "tokens": len(sequence.source),
                "answered": not isinstance(sequence.outcome, Exception),
            }
            for sequence in sequences
        ]
        try:
            self._file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            log.error("the trace ends here: %s", error)
            self._file = None
