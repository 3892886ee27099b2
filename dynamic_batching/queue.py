"""What waits, and the rule by which sequences leave together. No clock: callers say the time.

First come, first served, up to a number of sequences and of tokens. The graphs take texts packed, without
padding, so any lengths go together, and no text is passed over for a better match.
"""

import math
import threading
from collections import deque

from .sequence import Batch, Request, Sequence

MIN_DROPPED_SEQUENCES = 64


class RequestQueue:
    """Waiting sequences in their order of arrival; `requests`, `sequences` and `tokens` count what waits.

    Its methods are to be called with `lock` held.
    """

    def __init__(self, max_batch_size: int, max_batch_tokens: int, max_wait_s: float = 0.0) -> None:
        self.max_batch_size = max_batch_size
        self.max_batch_tokens = max_batch_tokens
        self.max_wait_s = max_wait_s
        self.lock = threading.Condition(threading.Lock())
        self.requests = 0
        self.sequences = 0
        self.tokens = 0
        self._waiting: deque[Sequence] = deque()
        self._idle_workers = 0

    def push(self, request: Request, now_s: float) -> None:
        """All the sequences of a request, behind all others."""
        request.admitted_s = now_s
        self._waiting.extend(request.sequences)
        request.queued_sequences = len(request.sequences)
        request.queued_tokens = sum(len(sequence.source) for sequence in request.sequences)
        self.requests += 1
        self.sequences += request.queued_sequences
        self.tokens += request.queued_tokens
        if self._idle_workers:
            self.lock.notify()

    def drop(self, request: Request) -> None:
        """Takes out what still waits of a request; nothing of it is in a later batch."""
        request.dropped = True
        if request.queued_sequences:
            self.requests -= 1
            self.sequences -= request.queued_sequences
            self.tokens -= request.queued_tokens
            request.queued_sequences = request.queued_tokens = 0
        # Its sequences are passed over when their turn comes, unless none comes and they pile up.
        if len(self._waiting) > 2 * self.sequences + MIN_DROPPED_SEQUENCES:
            self._waiting = deque(sequence for sequence in self._waiting if not sequence.request.dropped)

    def due_s(self) -> float:
        """When the next batch is to be scheduled: infinity if nothing waits, else possibly in the past."""
        while self._waiting and self._waiting[0].request.dropped:
            self._waiting.popleft()
        if not self._waiting:
            return math.inf
        if self.sequences >= self.max_batch_size or self.tokens >= self.max_batch_tokens:
            return -math.inf
        return self._waiting[0].request.admitted_s + self.max_wait_s

    def wait(self, now_s: float) -> None:
        """Lets the lock go until something is pushed or due, or another thread notifies."""
        due_s = self.due_s()
        self._idle_workers += 1
        # What is due already waits for free slots, whose worker notifies.
        self.lock.wait(due_s - now_s if now_s < due_s < math.inf else None)
        self._idle_workers -= 1

    def next_slots(self) -> int:
        """How many slots the oldest sequence takes; 1 if nothing waits."""
        return self._waiting[0].num_beams if self._waiting else 1

    def schedule(
        self, now_s: float, run_s: float = 0.0, free_slots: int | None = None
    ) -> tuple[Batch | None, list[Request]]:
        """The next batch, None if nothing can run; and the requests dropped because no run ends in time.

        `run_s` is the least that the run will take: a request whose deadline is before its end is not worth
        it. `free_slots` are there where they are fewer than `max_batch_size`; a sequence takes one for each
        beam. A sequence that had n before it when it came is in one of the next n + 1 batches with slots for
        it; one over the token limit goes alone.
        """
        expired: list[Request] = []
        scheduled: list[Sequence] = []
        tokens = slots = 0
        limit = self.max_batch_size if free_slots is None else min(free_slots, self.max_batch_size)
        while self._waiting and slots < limit:
            sequence = self._waiting[0]
            request, length = sequence.request, len(sequence.source)
            if not request.dropped:
                if request.deadline_s <= now_s + run_s:
                    self.drop(request)
                    expired.append(request)
                elif (scheduled and tokens + length > self.max_batch_tokens) or (
                    slots + sequence.num_beams > limit
                ):
                    break
                else:
                    sequence.scheduled_s = now_s
                    scheduled.append(sequence)
                    tokens += length
                    slots += sequence.num_beams
                    request.queued_sequences -= 1
                    request.queued_tokens -= length
                    self.requests -= not request.queued_sequences
            # A drop may have made a new queue, without the dropped sequence.
            if self._waiting and self._waiting[0] is sequence:
                self._waiting.popleft()
        self.sequences -= len(scheduled)
        self.tokens -= tokens
        return (Batch(scheduled, tokens, now_s) if scheduled else None), expired
