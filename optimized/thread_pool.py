"""Inference off the event loop: a thread a core, and a large batch split by its tokens."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .web.request_context import RequestContext

Answer = TypeVar("Answer")


class ThreadPool:
    """Runs batches on `threads` threads; each inference uses one core."""

    def __init__(self, threads: int, max_batch_tokens: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._max_batch_tokens = max_batch_tokens

    async def run(
        self,
        infer: Callable[[list[list[int]]], list[Answer]],
        batch: list[list[int]],
        request: RequestContext,
        num_beams: int = 1,
    ) -> list[Answer]:
        """The answers of `infer` to a batch in order; `request` gets what it waited and computed."""
        # Every beam takes the room of a text.
        lengths = [len(token_ids) * num_beams for token_ids in batch]
        parts = [batch[start:end] for start, end in split(lengths, self._max_batch_tokens)]
        submitted_s = time.perf_counter()

        def timed(part: list[list[int]]) -> tuple[list[Answer], float, float]:
            started_s = time.perf_counter()
            return infer(part), started_s, time.perf_counter()

        loop = asyncio.get_running_loop()
        ran = await asyncio.gather(*(loop.run_in_executor(self._pool, timed, part) for part in parts))
        request.add("queue", min(started_s for _, started_s, _ in ran) - submitted_s)
        request.add("inference", sum(ended_s - started_s for _, started_s, ended_s in ran))
        return [answer for answers, _, _ in ran for answer in answers]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def split(lengths: list[int], max_batch_tokens: int) -> list[tuple[int, int]]:
    """Ranges of positions, of at most `max_batch_tokens` tokens or of a single text each."""
    starts: list[int] = []
    tokens = 0
    for position, length in enumerate(lengths):
        if not starts or tokens + length > max_batch_tokens:
            starts.append(position)
            tokens = 0
        tokens += length
    return [*zip(starts, [*starts[1:], len(lengths)], strict=True)]
