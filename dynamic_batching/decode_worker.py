"""A worker that decodes in slots: between any two steps sequences join from the queue, and leave finished.

Iteration-level scheduling (Orca, OSDI 2022). What joins is bounded in tokens, and long texts are encoded in
the background, so running sequences are not kept waiting for long. Sequences leave the queue in the order of
arrival, so every one's turn comes.
"""

import math
from typing import Protocol

from .decoder import Encoded, Finished, SlotDecoder
from .prefill_worker import PrefillWorker
from .queue import RequestQueue
from .sequence import Batch, Request, Sequence, Steps
from .web.sentences import TranslatedSentence
from .worker import InferenceFailed, SchedulerCallbacks, Worker, log

# More long texts than this are not kept waiting until they can be encoded in the background.
MAX_BACKGROUND_PREFILLS = 2
LONG_TOKENS = 64


class DecodeModel(Protocol):
    """What a decode worker needs of a translator."""

    def new_decoder(self) -> SlotDecoder: ...

    def warmup_sequences(self) -> list[list[Sequence]]:
        """A few sequences, and as many as fill the slots."""

    def sentence(self, token_ids: list[int]) -> TranslatedSentence: ...


class DecodeWorker(Worker[Steps]):
    """`running` are the sequences in its slots, `prefill` has those that are encoded in the background.

    These are texts of more than `long_tokens`, where shorter ones would wait for them.
    """

    def __init__(
        self,
        callbacks: SchedulerCallbacks[Steps],
        name: str,
        queue: RequestQueue,
        model: DecodeModel,
        workers: int,
        long_tokens: int = LONG_TOKENS,
    ) -> None:
        """`workers` is how many share `queue`."""
        super().__init__(callbacks, name)
        self.decoder = model.new_decoder()
        self.running: set[Sequence] = set()
        self.prefill = PrefillWorker(self.decoder.encode, self._wake, callbacks.clock_s, f"{name}-prefill")
        self.long_tokens = long_tokens
        self._queue = queue
        self._model = model
        self._workers = workers
        self._steps = Steps()

    @property
    def sequences(self) -> list[Sequence]:
        return [*self.running, *self.prefill.sequences]

    def busy_since_s(self) -> float | None:
        since_s = [at for at in (self.running_since_s, self.prefill.running_since_s) if at is not None]
        return min(since_s, default=None)

    def free_in_s(self, now_s: float) -> float:
        """None: sequences join at any step."""
        return 0.0

    def warm_up(self) -> None:
        measured = []
        for sequences in self._model.warmup_sequences():
            self.running_since_s = self.callbacks.clock_s()
            done = self.join(sequences)
            while self.running:
                done += self.step()
            for sequence in done:
                if isinstance(sequence.outcome, Exception):
                    raise sequence.outcome
            measured.append(self._steps)
            self._steps = Steps()
        self.running_since_s = None
        self.callbacks.on_warm(self, measured)

    def work(self) -> None:
        try:
            while self.schedule():
                self.step_and_report()
        finally:
            self.prefill.close()

    def step_and_report(self) -> None:
        """A step of what runs, if anything does; what it ends is reported done."""
        done = self.step() if self.running else []
        if done:
            steps, self._steps = self._steps, Steps()
            self.callbacks.on_done(done, steps, self.callbacks.clock_s())

    def schedule(self, wait: bool = True) -> bool:
        """Frees the slots of sequences that nobody waits for and fills free ones from the queue.

        Waits while there is nothing to decode; False once the worker is retired, or if it shall not wait.
        """
        queue = self._queue
        batch: Batch | None = None
        expired: list[Request] = []
        while True:
            with queue.lock:
                if self.retired:
                    return False
                now_s = self.callbacks.clock_s()
                gone = [each for each in self.sequences if abandoned(each.request, now_s)]
                if queue.due_s() <= now_s and (free := self.free_slots(sum(one.num_beams for one in gone))):
                    batch, expired = queue.schedule(now_s, free_slots=free)
                if self.running or gone or batch or expired or self.prefill.ready:
                    self.running_since_s = now_s
                    break
                if not wait:
                    return False
                self.running_since_s = None
                queue.wait(now_s)
        for sequence in gone:
            self._remove(sequence)
            if not sequence.request.dropped:
                expired.append(sequence.request)
        if expired:
            self.callbacks.on_expired(expired)
        done = self.collect_prefills()
        if batch is not None:
            self._steps.waits_s.append(batch.queue_wait_s)
            done += self.join(self.offload_prefill(batch.sequences))
        if done:
            self.callbacks.on_done(done, Steps(), self.callbacks.clock_s())
        return True

    def free_slots(self, leaving: int) -> int:
        """How many slots it may fill: its share of all, so that texts go where there are most free."""
        free = self.decoder.free_slots - self.prefill.slots + leaving
        share = math.ceil((self.callbacks.running_slots() + self._queue.sequences) / self._workers)
        return min(free, max(self._queue.next_slots(), share - self.slots + leaving))

    def offload_prefill(self, sequences: list[Sequence]) -> list[Sequence]:
        """Gives long texts to the prefill worker, as far as it is not too full; the others."""
        joining = []
        short = any(len(one.source) <= self.long_tokens for one in (*self.running, *sequences))
        for sequence in sequences:
            long = len(sequence.source) > self.long_tokens
            if short and long and len(self.prefill.sequences) < MAX_BACKGROUND_PREFILLS:
                self.prefill.submit(sequence)
            else:
                joining.append(sequence)
        return joining

    def collect_prefills(self) -> list[Sequence]:
        """Gives slots to each text that was encoded in the background; those that fail are done."""
        done = []
        for prefill in self.prefill.collect():
            sequence, outcome = prefill.sequence, prefill.outcome
            self.running.add(sequence)
            try:
                if isinstance(outcome, BaseException):
                    raise outcome
                done += self._join([sequence], outcome)
            except Exception as error:
                done.append(self._done(sequence, InferenceFailed(error)))
            self._count_join([sequence])
            self._steps.background_s += prefill.cpu_s
        return done

    def join(self, sequences: list[Sequence]) -> list[Sequence]:
        """Gives each sequence its slots; those whose encoding fails, or that end at once, are done."""
        if not sequences:
            return []
        started_s = self.callbacks.clock_s()
        self.running.update(sequences)
        try:
            done = self._join(sequences)
        except Exception as error:
            done = []
            if len(sequences) > 1:
                count = len(sequences)
                log.warning("%s texts could not join (%s), each is tried alone", count, repr(error))
            for sequence in sequences:
                try:
                    done += self._join([sequence])
                except Exception as alone:
                    done.append(self._done(sequence, InferenceFailed(alone)))
        self._count_join(sequences)
        self._steps.prefill_s += self.callbacks.clock_s() - started_s
        return done

    def step(self) -> list[Sequence]:
        """One token for every running sequence; those that finished or failed."""
        started_s = self.running_since_s = self.callbacks.clock_s()
        rows = sum(sequence.num_beams for sequence in self.running)
        result = self.decoder.step()
        self._steps.rows.append(rows)
        self._steps.seconds.append(self.callbacks.clock_s() - started_s)
        self._steps.lengths += [(len(one.source), len(tokens)) for one, tokens in result.finished]
        failed = [self._done(sequence, InferenceFailed(error)) for sequence, error in result.failed]
        return failed + self._finished(result.finished)

    def _join(self, sequences: list[Sequence], encoded: Encoded | None = None) -> list[Sequence]:
        return self._finished(self.decoder.join(sequences, encoded))

    def _finished(self, finished: Finished) -> list[Sequence]:
        return [self._done(sequence, self._model.sentence(tokens)) for sequence, tokens in finished]

    def _done(self, sequence: Sequence, outcome: object) -> Sequence:
        self.running.remove(sequence)
        sequence.outcome = outcome
        return sequence

    def _remove(self, sequence: Sequence) -> None:
        if sequence in self.running:
            self.decoder.remove(sequence)
            self.running.remove(sequence)
        else:
            self.prefill.discard(sequence)

    def _count_join(self, sequences: list[Sequence]) -> None:
        self._steps.joins.append((sequences[0].scheduled_s, self.callbacks.clock_s()))
        self._steps.joined += len(sequences)
        self._steps.prefill_tokens += sum(len(sequence.source) for sequence in sequences)

    def _wake(self) -> None:
        with self._queue.lock:
            self._queue.lock.notify_all()


def abandoned(request: Request, now_s: float) -> bool:
    return request.dropped or request.deadline_s <= now_s
