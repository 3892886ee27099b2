"""Decoding in slots, greedily or with beams, on one core: texts join and leave between any two steps.

Every buffer that a step reads or writes is reserved once and bound where it lies, so a step copies no cache.
Occupied slots lie side by side when a step runs: a text that joins takes a hole that another left, and the
holes nobody took are filled with the last rows.
"""

import logging
from collections.abc import Container, Hashable
from itertools import islice

import numpy as np
import onnxruntime

from .beam_search import BeamSearch, placed
from .graphs import Graphs
from .row import Encoded, Finished, Row, StepResult, runs_of_like_length
from .slots import Slots

log = logging.getLogger(__name__)


class SlotDecoder:
    """Decodes up to `max_batch_size` rows of any age at once. Threads share graphs, not decoders.

    The tokens of a row are those of Hugging Face's `generate` with its num_beams, do_sample=False,
    early_stopping=False, length_penalty=1.0, forced_eos_token_id=None and suppress_tokens=[pad], whatever
    rows it shares its steps with.
    """

    def __init__(self, graphs: Graphs, max_batch_size: int) -> None:
        self.encoder = graphs.encoder
        self.decoder = graphs.decoder
        self.greedy = graphs.greedy
        self.max_batch_size = max_batch_size
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.pad_id = int(facts["pad_token_id"])
        self.max_positions = int(facts["max_position_embeddings"])
        self._slots = Slots(graphs, max_batch_size, self.max_positions)
        self._slots.forbidden[:, 0] = self.pad_id
        self._slots_of: dict[Hashable, list[int]] = {}
        self._searches: dict[Hashable, BeamSearch] = {}
        self._kept: set[Hashable] = set()

    @property
    def rows(self) -> int:
        """How many slots are occupied."""
        return sum(map(len, self._slots_of.values()))

    @property
    def free(self) -> int:
        return self.max_batch_size - self.rows

    @property
    def keys(self) -> list[Hashable]:
        """The keys of the rows that are being decoded."""
        return [*self._slots_of]

    def encode(self, rows: list[Row]) -> Encoded:
        """What the encoder gives for `rows`; those of like length share a run. It may run on any thread."""
        encoded: Encoded = {}
        for run in runs_of_like_length(rows):
            src_len = np.array([len(row.source) for row in run], np.int32)
            packed = {
                "input_ids": np.concatenate([row.source for row in run], dtype=np.int64),
                "src_len": src_len,
            }
            cross = self.encoder.run(self._slots.cross_names, packed)
            encoded.update({row.key: (cross, at, len(row.source)) for at, row in enumerate(run)})
        return encoded

    def join(self, rows: list[Row], encoded: Encoded | None = None) -> Finished:
        """Gives each of `rows` a slot a beam; the next step decodes them.

        `encoded` is what `encode` gave for them; unless given, they are encoded here.

        Returns those that finish at once, for want of tokens to choose; they need no slot.
        Raises ValueError, and takes none, if their beams do not fit `free`, a key is given twice, a source is
        empty, or a source or a limit exceeds the model's positions. If the encoder raises, none is taken.
        """
        self._check(rows)
        finished: Finished = [(row.key, []) for row in rows if row.max_new_tokens <= 0]
        rows = [row for row in rows if row.max_new_tokens > 0]
        if not rows:
            return finished
        if encoded is None:
            encoded = self.encode(rows)
        slots, occupied = self._slots, [slot for group in self._slots_of.values() for slot in group]
        slots.fit(occupied, max(len(row.source) for row in rows), max(row.max_new_tokens for row in rows))
        holes = iter(sorted(set(range(self.max_batch_size)).difference(occupied)))
        for row in rows:
            limits = row.max_new_tokens, row.min_new_tokens
            group = self._slots_of[row.key] = [*islice(holes, row.num_beams)]
            for slot in group:
                slots.fill(slot, *encoded[row.key])
                slots.input_ids[slot] = self.start_id
                slots.max_new[slot], slots.min_new[slot] = limits
            if row.num_beams > 1:
                self._searches[row.key] = BeamSearch(row.num_beams, *limits, self.eos_id, self.pad_id)
        return finished

    def step(self, keep_ended: bool = False) -> StepResult:
        """Chooses the next token of every row; the rows that end leave.

        A step that raises is repeated row by row, so a row that cannot run fails alone, and leaves. With
        `keep_ended`, which is for greedy rows that joined together, those that end stay and take part in
        every step until the last one has ended.
        """
        result = StepResult()
        self._close_holes()
        slots, rows = self._slots, self.rows
        if not rows:
            return result
        past_len = slots.past_len[:rows]
        slots.forbidden[:rows, 1] = np.where(past_len < slots.min_new[:rows], self.eos_id, -1)
        parents: dict[Hashable, list[int]] = {}
        if self.greedy is not None and not self._searches:
            errors = self._run(self.greedy, rows)
            tokens = slots.next_ids[:rows, 0]
        else:
            errors = self._run(self.decoder, rows)
            parents = self._advance(errors)
            scores = slots.logits[:rows]
            scores[:, self.pad_id] = -np.inf
            scores[slots.forbidden[:rows, 1] >= 0, self.eos_id] = -np.inf
            tokens = scores.argmax(axis=1)
        slots.input_ids[:rows, 0] = tokens
        slots.answers[np.arange(rows), past_len] = tokens
        past_len += 1
        ended = (tokens == self.eos_id) | (past_len == slots.max_new[:rows])
        for key in parents:
            ended[self._slots_of[key]] = self._searches[key].finished
        if errors or ended.any():
            for key, group in [*self._slots_of.items()]:
                failed = [errors[slot] for slot in group if slot in errors]
                if failed:
                    result.failed.append((key, failed[0]))
                    self.remove(key)
                elif ended[group[0]] and key not in self._kept:
                    greedy = slots.answers[group[0], : past_len[group[0]]].tolist()
                    result.finished.append((key, self._searches[key].best if key in parents else greedy))
                    self._kept.add(key)
            if not keep_ended or len(self._kept) == len(self._slots_of):
                for key in [*self._kept]:
                    self.remove(key)
        for key in parents.keys() & self._slots_of.keys():
            self._reorder(key, parents[key])
        return result

    def remove(self, key: Hashable) -> None:
        """Frees the slots of a row at once; KeyError where no row has this key."""
        for slot in self._slots_of.pop(key):
            self._slots.leave(slot)
        self._searches.pop(key, None)
        self._kept.discard(key)

    def generate(
        self,
        batch: list[list[int]],
        max_new_tokens: list[int],
        min_new_tokens: list[int],
        num_beams: int = 1,
        keep_ended: bool = False,
    ) -> list[list[int]]:
        """Tokens of each source, in order: without the start token, with the end token if chosen.

        Row i ends at its end token or after `max_new_tokens[i]` tokens; the end token is not chosen before
        `min_new_tokens[i]` others. What exceeds `max_batch_size` waits for slots. With `keep_ended` a row is
        computed on until the last one has ended, as Hugging Face's `generate` does it, and no slot is free
        before.
        Raises ValueError if a source or a limit exceeds the model's positions, the beams the slots, or if
        rows with beams shall be kept; RuntimeError if rows are being decoded. What the run of a row raises
        frees all slots.
        """
        if self._slots_of:
            raise RuntimeError("rows are being decoded")
        self._check_lengths([*map(len, batch), *max_new_tokens])
        if num_beams > self.max_batch_size:
            raise ValueError(f"{num_beams} beams for {self.max_batch_size} slots")
        if keep_ended and num_beams > 1:
            raise ValueError("a search that has ended has no beams to keep")
        texts = zip(range(len(batch)), batch, max_new_tokens, min_new_tokens, strict=True)
        waiting = [Row(*text, num_beams) for text in texts]
        answers: dict[Hashable, list[int]] = {}
        try:
            while waiting or self._slots_of:
                joining = waiting[: self.free // num_beams]
                del waiting[: len(joining)]
                answers.update(self.join(joining))
                result = self.step(keep_ended)
                for _, error in result.failed:
                    raise error
                answers.update(result.finished)
        finally:
            self._slots_of.clear()
            self._searches.clear()
            self._kept.clear()
        return [answers[index] for index in range(len(batch))]

    def _check(self, rows: list[Row]) -> None:
        keys = {row.key for row in rows}
        if any(row.num_beams < 1 for row in rows):
            raise ValueError("num_beams must be at least 1")
        needed = sum(row.num_beams for row in rows if row.max_new_tokens > 0)
        if needed > self.free:
            raise ValueError(f"{needed} rows for {self.free} free slots")
        if len(keys) < len(rows) or not self._slots_of.keys().isdisjoint(keys):
            raise ValueError("two rows have the same key")
        if not all(row.source for row in rows):
            raise ValueError("a source has no tokens")
        self._check_lengths([max(len(row.source), row.max_new_tokens) for row in rows])

    def _check_lengths(self, lengths: list[int]) -> None:
        if max(lengths, default=0) > self.max_positions:
            raise ValueError(f"sources and max_new_tokens must be at most {self.max_positions} tokens")

    def _close_holes(self) -> None:
        """Moves the last rows into holes, so that the rows of a step lie side by side."""
        rows, groups = self.rows, self._slots_of.values()
        if all(slot < rows for group in groups for slot in group):
            return
        holes = set(range(rows)).difference(*groups)
        for group in groups:
            for beam, slot in enumerate(group):
                if slot >= rows:
                    group[beam] = min(holes)
                    holes.remove(group[beam])
                    self._slots.move(slot, group[beam])

    def _advance(self, errors: Container[int]) -> dict[Hashable, list[int]]:
        """The parents of the beams of every row whose run has not raised; writes over their logits."""
        slots, parents = self._slots, {}
        for key, search in self._searches.items():
            group = self._slots_of[key]
            if not any(slot in errors for slot in group):
                scales = slots.logits_scale[group, 0].tolist()
                parents[key] = search.advance([slots.logits[slot] for slot in group], scales)
        return parents

    def _reorder(self, key: Hashable, parents: list[int]) -> None:
        """Gives each beam its parent's past and its own last token."""
        group, copies = placed(parents, self._slots_of[key])
        for source, target in copies:
            self._slots.copy_past(source, target)
        self._slots_of[key] = group
        self._slots.input_ids[group, 0] = self._searches[key].last_tokens

    def _run(self, graph: onnxruntime.InferenceSession, rows: int) -> dict[int, Exception]:
        """The graph's step for the first `rows` slots; the errors of those that cannot run even alone."""
        try:
            graph.run_with_iobinding(self._slots.binding(graph, rows))
            return {}
        except Exception as error:
            log.warning("a step of %s rows failed and is repeated row by row: %s", rows, error)
        errors: dict[int, Exception] = {}
        for slot in range(rows):
            try:
                graph.run_with_iobinding(self._slots.bind(graph, slot, 1))
            except Exception as error:
                errors[slot] = error
        return errors
