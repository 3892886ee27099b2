"""A fake decoder and translator, and schedulers that decode with them, with threads and without."""

import asyncio
from collections.abc import Callable
from typing import Any

from fake_workers import FAILS, FOREVER_S, TOKEN_S, context, metrics, sequence

from dynamic_batching.config import Settings
from dynamic_batching.decode_worker import DecodeWorker
from dynamic_batching.decoder import Encoded, Finished, StepResult
from dynamic_batching.latency_model import DecodeLatencyModel
from dynamic_batching.prefill_worker import Prefill, PrefillWorker
from dynamic_batching.queue import RequestQueue
from dynamic_batching.scheduler import Scheduler
from dynamic_batching.sequence import Sequence, Steps
from dynamic_batching.worker import SchedulerCallbacks

FAILS_TO_ENCODE = 14


class FakeDecoder:
    """Decodes a source to itself, a token a step; some sources fail as they join or at their third step."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.rows: dict[Sequence, list[int]] = {}
        self.joins: list[int] = []
        self.most = 0

    @property
    def free_slots(self) -> int:
        return self.slots - sum(each.num_beams for each in self.rows)

    def encode(self, sequences: list[Sequence]) -> Encoded:
        if any(each.source[0] == FAILS_TO_ENCODE for each in sequences):
            raise StopIteration("cannot be encoded")
        return {each: ([], at, len(each.source)) for at, each in enumerate(sequences)}

    def join(self, sequences: list[Sequence], encoded: Encoded | None = None) -> Finished:
        assert sum(each.num_beams for each in sequences) <= self.free_slots
        if encoded is None:
            encoded = self.encode(sequences)
            self.joins.append(sum(len(each.source) for each in sequences))
        assert encoded.keys() == {*sequences}
        self.rows.update({each: [] for each in sequences})
        self.most = max(self.most, len(self.rows))
        return []

    def step(self) -> StepResult:
        result = StepResult()
        for each, tokens in [*self.rows.items()]:
            if each.source[0] == FAILS and len(tokens) == min(2, len(each.source) - 1):
                result.failed.append((each, StopIteration("broken sequence")))
                del self.rows[each]
                continue
            tokens.append(each.source[len(tokens)])
            if len(tokens) == len(each.source):
                result.finished.append((each, tokens))
                del self.rows[each]
        return result

    def remove(self, each: Sequence) -> None:
        del self.rows[each]


class FakeTranslator:
    def __init__(self, slots: int) -> None:
        self.slots = slots

    def new_decoder(self) -> Any:
        return FakeDecoder(self.slots)

    def warmup_sequences(self) -> list[list[Sequence]]:
        return [[sequence([1, 2, 3])]]

    def sentence(self, token_ids: list[int]) -> Any:
        return tuple(token_ids)


class SimulatedPrefill(PrefillWorker):
    """One without a thread: each text is encoded in the time of as many steps as it has tokens."""

    def submit(self, sequence: Sequence) -> None:
        self.sequences.add(sequence)
        asyncio.get_running_loop().call_later(len(sequence.source) * TOKEN_S, self._end, sequence)

    def _end(self, sequence: Sequence) -> None:
        outcome: Encoded | BaseException
        try:
            outcome = self._encode([sequence])
        except StopIteration as error:
            outcome = error
        self._encoded.append(Prefill(sequence, outcome, 0.0))


def parts(limits: Settings) -> tuple[RequestQueue, DecodeLatencyModel, Callable[..., DecodeWorker]]:
    """What a scheduler that decodes with the fake translator is made of."""
    queue = RequestQueue(limits.max_batch_size, limits.max_prefill_tokens)

    def make_worker(callbacks: SchedulerCallbacks[Steps], name: str) -> DecodeWorker:
        return DecodeWorker(callbacks, name, queue, FakeTranslator(limits.max_batch_size), limits.threads)

    return queue, DecodeLatencyModel(limits.threads, limits.max_batch_size), make_worker


def threaded(**changed: Any) -> Scheduler[Steps]:
    """A scheduler with real workers of 8 slots."""
    limits = Settings(**{"threads": 1, "max_batch_size": 8, **changed})
    return Scheduler("fake", limits, *parts(limits), metrics())


class SimulatedDecoding(Scheduler[Steps]):
    """A scheduler without threads: a coroutine is its worker, and a step takes the fake clock's time."""

    latency: DecodeLatencyModel

    def __init__(self, **changed: Any) -> None:
        self._loop = asyncio.get_running_loop()
        limits = Settings(**{"threads": 1, **changed})
        queue, latency, make_worker = parts(limits)
        super().__init__("fake", limits, queue, latency, make_worker, metrics(), clock_s=self._loop.time)
        self.worker = make_worker(self, "fake")
        self.decoder: Any = self.worker.decoder
        encode = self.decoder.encode
        self.worker.prefill = SimulatedPrefill(encode, lambda: None, self._loop.time, "fake")
        self.pool._loop = self._loop
        self.pool.workers.append(self.worker)
        latency.base_s = TOKEN_S
        self.working = self._loop.create_task(self.work())

    async def work(self) -> None:
        while True:
            if not self.worker.schedule(wait=False):
                await asyncio.sleep(TOKEN_S)
                continue
            assert self.worker.running == self.decoder.rows.keys()
            done = self.worker.step()
            await asyncio.sleep(TOKEN_S)
            if done:
                self._deliver(done, self.worker._steps, self.clock_s())
                self.worker._steps = Steps()

    def on_done(self, sequences: list[Sequence], report: Steps, ended_s: float) -> None:
        self._deliver(sequences, report, ended_s)


def submit(
    scheduler: Scheduler[Steps], *texts: list[int], deadline_s: float = FOREVER_S, num_beams: int = 1
) -> asyncio.Future[list[Any]]:
    sequences = [sequence(token_ids, num_beams) for token_ids in texts]
    return asyncio.ensure_future(scheduler.submit(sequences, context(deadline_s)))
