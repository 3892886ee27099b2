"""Encodes long texts beside an engine's decoding steps, on a thread that leaves most of the core to them.

A long text takes as long to encode as several steps, for which every row would stand still.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from .job import Text
from .row import Encoded, Row
from .scheduling import give_way

JOIN_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class Prefill:
    """A text that was encoded, or what its encoding raised; `cpu_s` is what it took of the core."""

    text: Text
    row: Row
    outcome: Encoded | BaseException
    cpu_s: float


class PrefillLane:
    """`texts` were submitted and are not collected yet, each with when it left the queue.

    Its methods are for the engine's thread.
    """

    def __init__(
        self,
        encode: Callable[[list[Row]], Encoded],
        wake: Callable[[], None],
        clock_s: Callable[[], float],
        name: str,
    ) -> None:
        """`encode` and then `wake` are called on the lane's thread."""
        self.texts: dict[Text, float] = {}
        self.running_since_s: float | None = None
        self._encode = encode
        self._wake = wake
        self._clock_s = clock_s
        self._name = name
        self._waiting: SimpleQueue[tuple[Text, Row] | None] = SimpleQueue()
        self._ended: deque[Prefill] = deque()
        self._thread: threading.Thread | None = None

    @property
    def slots(self) -> int:
        """How many slots its texts will need."""
        return sum(text.job.num_beams for text in self.texts)

    @property
    def ended(self) -> bool:
        """Whether there is something to collect."""
        return bool(self._ended)

    def submit(self, text: Text, row: Row, formed_s: float) -> None:
        """Encodes a text after those before it."""
        self.texts[text] = formed_s
        self._waiting.put((text, row))
        if self._thread is None:
            # A thread that hangs for good must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def discard(self, text: Text) -> None:
        """Nobody waits for a text any more; its encoding is not collected."""
        del self.texts[text]

    def collect(self) -> list[tuple[Prefill, float]]:
        """What has ended since the last time, and when each text left the queue."""
        found = []
        while self._ended:
            prefill = self._ended.popleft()
            if prefill.text in self.texts:
                found.append((prefill, self.texts.pop(prefill.text)))
        return found

    def close(self) -> None:
        """Ends the thread after what it is at; one that hangs is left behind."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        give_way()
        while (item := self._waiting.get()) is not None:
            text, row = item
            if text not in self.texts:
                continue
            self.running_since_s = self._clock_s()
            started_s = time.thread_time()
            outcome: Encoded | BaseException
            try:
                outcome = self._encode([row])
            except BaseException as error:
                outcome = error
            self._ended.append(Prefill(text, row, outcome, time.thread_time() - started_s))
            self.running_since_s = None
            self._wake()
