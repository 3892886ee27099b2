"""Inference off the event loop: a thread a core, and a large batch split by its padded size."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from .telemetry import RequestClock


class Model(Protocol):
    run_cost_tokens: int

    def infer(self, batch: list[list[int]]) -> list[Any]: ...


class InferencePool:
    """Runs batches on `threads` threads; each inference uses one core."""

    def __init__(self, threads: int, max_batch_tokens: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._max_batch_tokens = max_batch_tokens

    async def infer(self, model: Model, batch: list[list[int]], clock: RequestClock) -> list[Any]:
        """The answers to a batch in order; what it waited and computed is added to `clock`."""
        loop = asyncio.get_running_loop()
        lengths = [len(token_ids) for token_ids in batch]
        parts = split(lengths, self._max_batch_tokens, model.run_cost_tokens)
        submitted_s = time.perf_counter()

        def run(part: list[int]) -> tuple[list[Any], float, float]:
            started_s = time.perf_counter()
            found = model.infer([batch[index] for index in part])
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


def split(lengths: list[int], max_batch_tokens: int, run_cost_tokens: int) -> list[list[int]]:
    """Positions in groups of like lengths, each within `max_batch_tokens` padded or a single text.

    The groups are those of least total cost, where a run costs `run_cost_tokens` and its padded tokens: all
    partitions of the texts sorted by length, by dynamic programming over where the last group begins.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cost = [0] * (len(order) + 1)
    begins = [0] * (len(order) + 1)
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        first = max(0, end - max(1, max_batch_tokens // longest))
        cost[end], begins[end] = min(
            (cost[begin] + run_cost_tokens + longest * (end - begin), begin) for begin in range(first, end)
        )
    parts = []
    end = len(order)
    while end:
        parts.append(order[begins[end] : end])
        end = begins[end]
    return parts
