"""Encodes long texts in the background of decoding steps, on a thread that leaves most of the core to them.

A long text takes as long to encode as several steps, for which every running sequence would stand still.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from .cpu_scheduling import run_in_background
from .decoder import Encoded
from .sequence import Sequence

JOIN_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class Prefill:
    """A sequence that was encoded, or what its encoding raised; `cpu_s` is what it took of the core."""

    sequence: Sequence
    outcome: Encoded | BaseException
    cpu_s: float


class PrefillWorker:
    """`sequences` were submitted and not collected yet. Its methods are for the decode worker's thread."""

    def __init__(
        self,
        encode: Callable[[list[Sequence]], Encoded],
        on_encoded: Callable[[], None],
        clock_s: Callable[[], float],
        name: str,
    ) -> None:
        """`encode` and then `on_encoded` are called on the prefill thread."""
        self.sequences: set[Sequence] = set()
        self.running_since_s: float | None = None
        self._encode = encode
        self._on_encoded = on_encoded
        self._clock_s = clock_s
        self._name = name
        self._waiting: SimpleQueue[Sequence | None] = SimpleQueue()
        self._encoded: deque[Prefill] = deque()
        self._thread: threading.Thread | None = None

    @property
    def slots(self) -> int:
        """How many slots its sequences will need."""
        return sum(sequence.num_beams for sequence in self.sequences)

    @property
    def ready(self) -> bool:
        """Whether there is something to collect."""
        return bool(self._encoded)

    def submit(self, sequence: Sequence) -> None:
        """Encodes a sequence after those before it."""
        self.sequences.add(sequence)
        self._waiting.put(sequence)
        if self._thread is None:
            # A thread that hangs for good must not keep the process from ending.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def discard(self, sequence: Sequence) -> None:
        """Nobody waits for a sequence any more; its encoding is not collected."""
        self.sequences.remove(sequence)

    def collect(self) -> list[Prefill]:
        """What was encoded since the last time."""
        collected = []
        while self._encoded:
            prefill = self._encoded.popleft()
            if prefill.sequence in self.sequences:
                self.sequences.remove(prefill.sequence)
                collected.append(prefill)
        return collected

    def encode(self, sequence: Sequence) -> None:
        """Encodes a sequence now, on the calling thread, unless it was discarded."""
        if sequence not in self.sequences:
            return
        self.running_since_s = self._clock_s()
        started_s = time.thread_time()
        outcome: Encoded | BaseException
        try:
            outcome = self._encode([sequence])
        except BaseException as error:
            outcome = error
        self._encoded.append(Prefill(sequence, outcome, time.thread_time() - started_s))
        self.running_since_s = None
        self._on_encoded()

    def close(self) -> None:
        """Ends the thread after what it is at; one that hangs is left behind."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        run_in_background()
        while (sequence := self._waiting.get()) is not None:
            self.encode(sequence)
