"""Inference off the event loop: a thread a core, and a large batch split by its tokens."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .telemetry import RequestClock

Infer = Callable[..., list[Any]]


class InferencePool:
    """Runs batches on `threads` threads; each inference uses one core."""

    def __init__(self, threads: int, max_batch_tokens: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._max_batch_tokens = max_batch_tokens

    async def infer(
        self, infer: Infer, batch: list[list[int]], clock: RequestClock, num_beams: int = 1
    ) -> list[Any]:
        """The answers of `infer` to a batch in order; what it waited and computed is added to `clock`."""
        loop = asyncio.get_running_loop()
        # Every beam takes the room of a text.
        lengths = [len(token_ids) * num_beams for token_ids in batch]
        parts = split(lengths, self._max_batch_tokens)
        submitted_s = time.perf_counter()

        def run(part: list[int]) -> tuple[list[Any], float, float]:
            started_s = time.perf_counter()
            found = infer([batch[index] for index in part])
            return found, started_s, time.perf_counter()

        ran = await asyncio.gather(*(loop.run_in_executor(self._pool, run, part) for part in parts))
        clock.add("queue", min(started_s for _, started_s, _ in ran) - submitted_s)
        clock.add("inference", sum(ended_s - started_s for _, started_s, ended_s in ran))
        answers: list[Any] = [None] * len(batch)
        for part, (found, _, _) in zip(parts, ran, strict=True):
            for index, answer in zip(part, found, strict=True):
                answers[index] = answer
        return answers

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def split(lengths: list[int], max_batch_tokens: int) -> list[list[int]]:
    """Positions in their order, in groups of at most `max_batch_tokens` tokens or of a single text."""
    parts: list[list[int]] = []
    tokens = 0
    for position, length in enumerate(lengths):
        if not parts or tokens + length > max_batch_tokens:
            parts.append([])
            tokens = 0
        parts[-1].append(position)
        tokens += length
    return parts
