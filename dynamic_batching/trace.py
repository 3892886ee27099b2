"""What became of each text, written down for those who want to see the batch's life; off unless asked for."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from .decode_cost import Steps
from .job import Batch, Done

log = logging.getLogger(__name__)


class Trace:
    """Appends JSON lines to a file; times are of the batchers' clock, in seconds. For the event loop.

    `{"event": "join", "task", "started_s", "decoding_s"}`: texts left the queue together and were encoded.
    `{"event": "text", "task", "admitted_s", "started_s", "ended_s", "tokens", "answered"}`: a text ended; it
    left the queue at `started_s`, with those of that join where it was decoded in slots.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be written."""
        self._file: TextIO | None = path.open("a", buffering=1)

    def write(self, task: str, done: Iterable[Done], run: Batch | Steps, ended_s: float) -> None:
        """Texts that ended together, and the joins before; a trace that cannot go on ends, and is said to."""
        if self._file is None:
            return
        try:
            self._write(self._file, task, done, run, ended_s)
        except OSError as error:
            log.error("the trace ends here: %s", error)
            self._file = None

    def _write(
        self, file: TextIO, task: str, done: Iterable[Done], run: Batch | Steps, ended_s: float
    ) -> None:
        lines: list[dict[str, object]] = []
        if isinstance(run, Steps):
            for started_s, decoding_s in run.joins:
                lines.append(
                    {"event": "join", "task": task, "started_s": started_s, "decoding_s": decoding_s}
                )
        for (job, _, tokens), outcome, started_s in done:
            lines.append(
                {
                    "event": "text",
                    "task": task,
                    "admitted_s": job.admitted_s,
                    "started_s": started_s,
                    "ended_s": ended_s,
                    "tokens": tokens,
                    "answered": not isinstance(outcome, Exception),
                }
            )
        file.writelines(json.dumps(line) + "\n" for line in lines)
