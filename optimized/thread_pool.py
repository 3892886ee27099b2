"""Inference off the event loop: a thread a core, and a large batch split by its tokens."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .web.request_context import RequestContext

Answer = TypeVar("Answer")
Batch = list[list[int]]


class ThreadPool:
    """Runs batches on `threads` threads; each inference uses one core."""

    def __init__(self, threads: int, max_batch_tokens: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._max_batch_tokens = max_batch_tokens

    async def run(
        self, infer: Callable[[Batch], list[Answer]], batch: Batch, num_beams: int, request: RequestContext
    ) -> list[Answer]:
        """The answers of `infer` to a batch in order; `request` gets what it waited and computed."""
        submitted_s = time.perf_counter()

        def timed(part: Batch) -> tuple[list[Answer], float, float]:
            started_s = time.perf_counter()
            return infer(part), started_s, time.perf_counter()

        run = asyncio.get_running_loop().run_in_executor
        # Every beam takes the room of a text.
        parts = split(batch, self._max_batch_tokens // num_beams)
        ran = await asyncio.gather(*(run(self._pool, timed, part) for part in parts))
        request.add("queue", min(started_s for _, started_s, _ in ran) - submitted_s)
        request.add("inference", sum(ended_s - started_s for _, started_s, ended_s in ran))
        return [answer for answers, _, _ in ran for answer in answers]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def split(batch: Batch, max_tokens: int) -> list[Batch]:
    """The texts in their order, in groups of at most `max_tokens` tokens or of a single text."""
    parts: list[Batch] = []
    tokens = 0
    for token_ids in batch:
        tokens += len(token_ids)
        if not parts or tokens > max_tokens:
            parts.append([])
            tokens = len(token_ids)
        parts[-1].append(token_ids)
    return parts
