"""Fake models, decoders and queues for the tests of schedulers and workers."""

import threading
from typing import Any

from prometheus_client import CollectorRegistry

from dynamic_batching.decoder import Encoded, Finished, StepResult
from dynamic_batching.latency_model import BatchLatencyModel, Load
from dynamic_batching.queue import RequestQueue
from dynamic_batching.scheduler import Scheduler
from dynamic_batching.scheduler_metrics import SchedulerMetrics
from dynamic_batching.sequence import Batch, Request, Sequence
from dynamic_batching.web.request_context import RequestContext

FOREVER_S = float("inf")
# First token ids of sequences that fail, hang, or end the thread.
FAILS = 13
FAILS_TO_ENCODE = 14
HANGS = 66
ENDS_THREAD = 99
TOKEN_S = 0.001
RUN_COST_TOKENS = 12
IDLE = Load(0.0, 0)


def sequence(token_ids: list[int], num_beams: int = 1) -> Sequence:
    return Sequence(token_ids, len(token_ids), num_beams=num_beams)


def request(*texts: list[int], deadline_s: float = FOREVER_S) -> Request:
    """A request whose sequences belong to it."""
    made = Request([sequence(token_ids) for token_ids in texts], deadline_s)
    for each in made.sequences:
        each.request = made
    return made


def context(deadline_s: float = FOREVER_S, receive: Any = None) -> RequestContext:
    """A request's context; its client's disconnect is awaited only if `receive` is given."""
    made = RequestContext()
    made.deadline_s, made.receive = deadline_s, receive
    return made


class FakeModel:
    """Answers a text with its own tokens; some first tokens fail, hang or end the thread."""

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.warmup_batches = [[[1, 2, 3]]]
        self.go_on = threading.Event()
        self.hanging = threading.Event()

    def infer(self, batch: list[list[int]]) -> list[Any]:
        self.batches.append(batch)
        first = {token_ids[0] for token_ids in batch}
        if HANGS in first:
            self.hanging.set()
            self.go_on.wait()
        if ENDS_THREAD in first:
            raise SystemExit
        if FAILS in first:
            raise StopIteration("broken text")
        return [tuple(token_ids) for token_ids in batch]


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


class RecordingQueue(RequestQueue):
    """Notes each batch that is scheduled, and fails the test where one must not have been."""

    def __init__(self, *limits: Any) -> None:
        super().__init__(*limits)
        self.batches: list[Batch] = []
        self.bounds: dict[Sequence, int] = {}

    def push(self, request: Request, now_s: float) -> None:
        for position, each in enumerate(request.sequences):
            self.bounds[each] = len(self.batches) + self.sequences + position + 1
        super().push(request, now_s)

    def schedule(
        self, now_s: float, run_s: float = 0.0, free_slots: int | None = None
    ) -> tuple[Batch | None, list[Request]]:
        until_s = now_s + run_s
        requests = [(each, each.request) for each in self._waiting]
        waiting = [each for each, its in requests if not its.dropped and its.deadline_s > until_s]
        batch, expired = super().schedule(now_s, run_s, free_slots)
        assert all(each.deadline_s <= until_s for each in expired)
        if batch is None:
            assert not waiting
            return batch, expired
        self.batches.append(batch)
        assert len(batch.sequences) <= self.max_batch_size
        assert batch.sequences == waiting[: len(batch.sequences)], "first come, first served"
        assert batch.tokens == sum(len(each.source) for each in batch.sequences)
        assert batch.tokens <= self.max_batch_tokens or len(batch.sequences) == 1
        for each in batch.sequences:
            assert each.request.open and not each.request.dropped and each.request.deadline_s > now_s
            assert each.scheduled_s == now_s
            assert len(self.batches) <= self.bounds.pop(each), "a sequence waits past its bound"
        return batch, expired


def ran(tokens: int, duration_s: float) -> Batch:
    return Batch([], tokens, duration_s=duration_s)


def measured_latency(
    run_cost_tokens: float = RUN_COST_TOKENS, token_s: float = TOKEN_S, workers: int = 1
) -> BatchLatencyModel:
    """A model whose warm-up ran 10 tokens and 160."""
    latency = BatchLatencyModel(workers)
    latency.seed([ran(tokens, (run_cost_tokens + tokens) * token_s) for tokens in (10, 160)])
    return latency


def metrics() -> SchedulerMetrics:
    return SchedulerMetrics(CollectorRegistry())


def check_counts(scheduler: Scheduler[Any]) -> None:
    """Every request that was admitted has ended in one way, or is open."""
    ended = scheduler.answered + scheduler.failed + sum(scheduler.dropped.values())
    assert scheduler.admitted == ended + len(scheduler.requests)
