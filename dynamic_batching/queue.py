"""What waits, and the rule by which texts leave together. No thread and no clock: callers say the time.

First come, first served, up to a number of texts and of tokens. The graphs take texts packed, without
padding, so any lengths go together, and no text is passed over for a better match.
"""

from collections import deque

from .job import Batch, Job, Text

LEAST_DEAD_TEXTS = 64


class BatchQueue:
    """Waiting texts in their order of arrival; `requests`, `texts` and `tokens` count what waits."""

    def __init__(self, max_batch_size: int, max_batch_tokens: int, max_wait_s: float = 0.0) -> None:
        self.max_batch_size = max_batch_size
        self.max_batch_tokens = max_batch_tokens
        self.max_wait_s = max_wait_s
        self.requests = 0
        self.texts = 0
        self.tokens = 0
        self._waiting: deque[Text] = deque()

    def push(self, job: Job, now_s: float) -> None:
        """All the texts of a job, behind all others."""
        job.admitted_s = now_s
        self._waiting.extend(Text(job, index, len(ids)) for index, ids in enumerate(job.tokens))
        job.queued_texts = len(job.tokens)
        job.queued_tokens = sum(map(len, job.tokens))
        self.requests += 1
        self.texts += job.queued_texts
        self.tokens += job.queued_tokens

    def drop(self, job: Job) -> None:
        """Takes out what still waits of a job; nothing of it is in a later batch."""
        job.dropped = True
        if job.queued_texts:
            self.requests -= 1
            self.texts -= job.queued_texts
            self.tokens -= job.queued_tokens
            job.queued_texts = job.queued_tokens = 0
        # Its texts are passed over when their turn comes, unless none comes and they pile up.
        if len(self._waiting) > 2 * self.texts + LEAST_DEAD_TEXTS:
            self._waiting = deque(text for text in self._waiting if not text.job.dropped)

    def due_s(self) -> float:
        """When the next batch is to be formed: infinity if nothing waits, else possibly in the past."""
        while self._waiting and self._waiting[0].job.dropped:
            self._waiting.popleft()
        if not self._waiting:
            return float("inf")
        if self.texts >= self.max_batch_size or self.tokens >= self.max_batch_tokens:
            return float("-inf")
        return self._waiting[0].job.admitted_s + self.max_wait_s

    def next_slots(self) -> int:
        """How many slots the oldest text takes; 1 if nothing waits."""
        return self._waiting[0].job.num_beams if self._waiting else 1

    def form(
        self, now_s: float, run_s: float = 0.0, room: int | None = None
    ) -> tuple[Batch | None, list[Job]]:
        """The next batch, None if nothing can run; and the jobs dropped because no run ends in their time.

        `run_s` is the least that the run will take: a job whose deadline is before its end is not worth it.
        `room` is how many slots there are where they are fewer than `max_batch_size`; a text takes one for
        each beam. A text that had n texts before it when it came is in one of the next n + 1 batches with
        room for it; a text over the token limit goes alone.
        """
        expired: list[Job] = []
        taken: list[Text] = []
        tokens = slots = 0
        room = self.max_batch_size if room is None else min(room, self.max_batch_size)
        while self._waiting and slots < room:
            text = self._waiting[0]
            job, _, length = text
            if not job.dropped:
                if job.deadline_s <= now_s + run_s:
                    self.drop(job)
                    expired.append(job)
                elif (taken and tokens + length > self.max_batch_tokens) or slots + job.num_beams > room:
                    break
                else:
                    taken.append(text)
                    tokens += length
                    slots += job.num_beams
                    job.queued_texts -= 1
                    job.queued_tokens -= length
                    self.requests -= not job.queued_texts
            # A drop may have made a new queue, without the dropped text.
            if self._waiting and self._waiting[0] is text:
                self._waiting.popleft()
        self.texts -= len(taken)
        self.tokens -= tokens
        return (Batch(taken, tokens, now_s) if taken else None), expired
