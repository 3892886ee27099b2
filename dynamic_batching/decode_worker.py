"""An engine that decodes in slots: between any two steps texts join from the queue, and leave as they end.

Iteration-level scheduling (Orca, OSDI 2022). What joins is bounded in tokens, and long texts are encoded
beside the steps, so the rows that run are not kept waiting for long. Texts leave the queue in the order of
arrival, so every text's turn comes.
"""

import math
from dataclasses import replace
from typing import Any

from .decode_cost import Steps
from .engine import Engine, Owner, failed, log
from .job import Batch, Done, Job, Text
from .prefill_lane import PrefillLane
from .row import Row

# More long texts than this are not kept waiting until they can be encoded beside the steps.
MOST_ASIDE = 2


class DecodeEngine(Engine):
    """`rows` are the texts in its slots, and when each left the queue; `lane` has those that are to join.

    A text of more than `long_tokens` is encoded beside the steps, where shorter ones would wait for it.
    """

    long_tokens = 64

    def __init__(self, owner: Owner, name: str) -> None:
        super().__init__(owner, name)
        self.decoder = owner.model.new_decoder()
        self.rows: dict[Text, float] = {}
        self.lane = PrefillLane(self.decoder.encode, self._wake, owner.clock_s, f"{name}-prefill")
        self._steps = Steps()

    @property
    def texts(self) -> list[Text]:
        return [*self.rows, *self.lane.texts]

    def busy_since_s(self) -> float | None:
        since_s = [at for at in (self.running_since_s, self.lane.running_since_s) if at is not None]
        return min(since_s, default=None)

    def load(self, now_s: float) -> float:
        """How many slots are occupied, or will be."""
        return self.slots()

    def slots(self) -> int:
        return sum(text.job.num_beams for text in self.texts)

    def warm_up(self) -> None:
        """Decodes the model's warm-up batches and reports the steps of each."""
        measured = []
        for batch in self.owner.model.warmup_batches():
            self.running_since_s = self.owner.clock_s()
            job = Job(batch, math.inf)
            done = self.join(Batch([Text(job, index, len(ids)) for index, ids in enumerate(batch)], 0, 0.0))
            while self.rows:
                done += self.step()
            for _, outcome, _ in done:
                if isinstance(outcome, Exception):
                    raise outcome
            measured.append(self._steps)
            self._steps = Steps()
        self.running_since_s = None
        self.owner.on_warm(self, measured)

    def work(self) -> None:
        try:
            while self.take():
                done = self.step() if self.rows else []
                if done:
                    steps, self._steps = self._steps, Steps()
                    self.owner.on_done(done, steps, self.owner.clock_s())
        finally:
            self.lane.close()

    def take(self, wait: bool = True) -> bool:
        """Frees the slots of texts that nobody waits for and fills free ones from the queue.

        Waits while there is nothing to decode; False once the engine is retired, or if it shall not wait.
        """
        owner = self.owner
        batch: Batch | None = None
        expired: list[Job] = []
        while True:
            with owner.work:
                if self.retired:
                    return False
                now_s = owner.clock_s()
                gone = [text for text in self.texts if text.job.dropped or text.job.deadline_s <= now_s]
                due_s = owner.queue.due_s()
                if due_s <= now_s and (room := self.room(sum(text.job.num_beams for text in gone))):
                    batch, expired = owner.queue.form(now_s, room=room)
                if not (self.rows or gone or batch or expired or self.lane.ended):
                    if not wait:
                        return False
                    self.running_since_s = None
                    owner.idle += 1
                    owner.work.wait(None if due_s == math.inf else due_s - now_s)
                    owner.idle -= 1
                    continue
                self.running_since_s = now_s
                break
        for text in gone:
            if text in self.rows:
                self.decoder.remove(text)
                del self.rows[text]
            else:
                self.lane.discard(text)
            if not text.job.dropped:
                expired.append(text.job)
        if expired:
            owner.on_expired(expired)
        ended = self.collect()
        if batch is not None:
            self._steps.waits_s.append(batch.queue_wait_s)
            ended += self.join(self.set_aside(batch))
        if ended:
            owner.on_done(ended, Steps(), owner.clock_s())
        return True

    def room(self, leaving: int) -> int:
        """How many slots it may fill: its share of all, so that texts go where there is most room."""
        free: int = self.decoder.free - self.lane.slots + leaving
        owner = self.owner
        share = math.ceil((owner.rows() + owner.queue.texts) / owner.cost.engines)
        return min(free, max(owner.queue.next_slots(), share - self.slots() + leaving))

    def set_aside(self, batch: Batch) -> Batch:
        """Gives the long texts of a batch to the lane, as far as it is not too full; the others."""
        joining = []
        short = any(text.length <= self.long_tokens for text in (*self.rows, *batch.texts))
        for text in batch.texts:
            if short and text.length > self.long_tokens and len(self.lane.texts) < MOST_ASIDE:
                self.lane.submit(text, self._row(text), batch.formed_s)
            else:
                joining.append(text)
        return replace(batch, texts=joining)

    def collect(self) -> list[Done]:
        """Gives a slot to each text whose encoding beside the steps has ended; those that fail are done."""
        done = []
        for prefill, formed_s in self.lane.collect():
            text, outcome = prefill.text, prefill.outcome
            self.rows[text] = formed_s
            try:
                if isinstance(outcome, BaseException):
                    raise outcome
                done += self._ended(self.decoder.join([prefill.row], outcome))
            except Exception as error:
                done.append(self._done(text, failed(error)))
            self._count_join([text], formed_s)
            self._steps.aside_s += prefill.cpu_s
        return done

    def join(self, batch: Batch) -> list[Done]:
        """Gives each text a slot; those whose encoding fails, or that end at once, are done."""
        if not batch.texts:
            return []
        started_s = self.owner.clock_s()
        for text in batch.texts:
            self.rows[text] = batch.formed_s
        try:
            done = self._join(batch.texts)
        except Exception as error:
            done = []
            if len(batch.texts) > 1:
                log.warning(
                    "%s texts could not join (%s), each is tried alone", len(batch.texts), repr(error)
                )
            for text in batch.texts:
                try:
                    done += self._join([text])
                except Exception as alone:
                    done.append(self._done(text, failed(alone)))
        self._count_join(batch.texts, batch.formed_s)
        self._steps.prefill_s += self.owner.clock_s() - started_s
        return done

    def step(self) -> list[Done]:
        """One token for every row; those that ended."""
        started_s = self.running_since_s = self.owner.clock_s()
        rows = sum(text.job.num_beams for text in self.rows)
        result = self.decoder.step()
        steps = self._steps
        steps.rows.append(rows)
        steps.seconds.append(self.owner.clock_s() - started_s)
        done = [self._done(text, failed(error)) for text, error in result.failed]
        for text, tokens in result.finished:
            steps.lengths.append((text.length, len(tokens)))
            done.append(self._done(text, self.owner.model.text(tokens)))
        return done

    def _join(self, texts: list[Text]) -> list[Done]:
        return self._ended(self.decoder.join([self._row(text) for text in texts]))

    def _row(self, text: Text) -> Row:
        row: Row = self.owner.model.row(text, text.job.tokens[text.position], text.job.num_beams)
        return row

    def _ended(self, finished: list[tuple[Any, list[int]]]) -> list[Done]:
        return [self._done(text, self.owner.model.text(tokens)) for text, tokens in finished]

    def _count_join(self, texts: list[Text], formed_s: float) -> None:
        steps = self._steps
        steps.joins.append((formed_s, self.owner.clock_s()))
        steps.joined_texts += len(texts)
        steps.prefill_tokens += sum(text.length for text in texts)

    def _wake(self) -> None:
        with self.owner.work:
            self.owner.work.notify_all()

    def _done(self, text: Text, outcome: object) -> Done:
        return Done(text, outcome, self.rows.pop(text))
