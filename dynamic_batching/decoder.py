"""Decoding in slots, greedily or with beams, on one core: sequences join and leave between any two steps.

Every buffer that a step reads or writes is reserved once and bound where it lies, so a step copies no cache.
Occupied slots lie side by side when a step runs: a sequence that joins takes a hole that another left, and
the holes nobody took are filled with the last rows.
"""

import logging
from collections.abc import Container
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import onnxruntime

from .runtime.beam_search import BeamSearch, placed
from .runtime.graphs import Graphs
from .sequence import Sequence, runs_of_like_length
from .slots import Slots

log = logging.getLogger(__name__)

# The keys and values (ck0, cv0, ck1, ...) that one encoder run gave for its texts, padded, the place of this
# text among them, and its length.
Encoded = dict[Sequence, tuple[list[np.ndarray], int, int]]
Finished = list[tuple[Sequence, list[int]]]


@dataclass(frozen=True)
class StepResult:
    """The sequences that left in a step: with their tokens, or with what their run raised.

    Tokens are without the start token, and with the end token if it was chosen.
    """

    finished: Finished = field(default_factory=list)
    failed: list[tuple[Sequence, Exception]] = field(default_factory=list)


class SlotDecoder:
    """Decodes up to `max_batch_size` rows of any age at once. Threads share graphs, not decoders.

    The tokens of a sequence are those of Hugging Face's `generate` with its num_beams, do_sample=False,
    early_stopping=False, length_penalty=1.0, forced_eos_token_id=None and suppress_tokens=[pad], whatever
    it shares its steps with.
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
        self._slots_of: dict[Sequence, list[int]] = {}
        self._searches: dict[Sequence, BeamSearch] = {}
        self._kept: set[Sequence] = set()

    @property
    def rows(self) -> int:
        """How many slots are occupied."""
        return sum(map(len, self._slots_of.values()))

    @property
    def free_slots(self) -> int:
        return self.max_batch_size - self.rows

    @property
    def running(self) -> list[Sequence]:
        """The sequences that are being decoded."""
        return [*self._slots_of]

    def encode(self, sequences: list[Sequence]) -> Encoded:
        """What the encoder gives; those of like length share a run. It may run on any thread."""
        encoded: Encoded = {}
        for run in runs_of_like_length(sequences):
            src_len = np.array([len(sequence.source) for sequence in run], np.int32)
            packed = {
                "input_ids": np.concatenate([sequence.source for sequence in run], dtype=np.int64),
                "src_len": src_len,
            }
            cross = self.encoder.run(self._slots.cross_names, packed)
            encoded.update({one: (cross, at, len(one.source)) for at, one in enumerate(run)})
        return encoded

    def join(self, sequences: list[Sequence], encoded: Encoded | None = None) -> Finished:
        """Gives each sequence a slot a beam; the next step decodes them.

        `encoded` is what `encode` gave for them; unless given, they are encoded here.

        Returns those that finish at once, for want of tokens to choose; they need no slot.
        Raises ValueError, and takes none, if their beams do not fit `free_slots`, one is given twice, a
        source is empty, or a source or a limit exceeds the model's positions. If the encoder raises, none is
        taken.
        """
        self._check(sequences)
        finished: Finished = [(sequence, []) for sequence in sequences if sequence.max_new_tokens <= 0]
        joining = [sequence for sequence in sequences if sequence.max_new_tokens > 0]
        if not joining:
            return finished
        if encoded is None:
            encoded = self.encode(joining)
        slots, occupied = self._slots, [slot for group in self._slots_of.values() for slot in group]
        longest = max(len(one.source) for one in joining), max(one.max_new_tokens for one in joining)
        slots.fit(occupied, *longest)
        holes = iter(sorted(set(range(self.max_batch_size)).difference(occupied)))
        for sequence in joining:
            limits = sequence.max_new_tokens, sequence.min_new_tokens
            group = self._slots_of[sequence] = [*islice(holes, sequence.num_beams)]
            for slot in group:
                slots.fill(slot, *encoded[sequence])
                slots.input_ids[slot] = self.start_id
                slots.max_new[slot], slots.min_new[slot] = limits
            if sequence.num_beams > 1:
                search = BeamSearch(sequence.num_beams, *limits, self.eos_id, self.pad_id)
                self._searches[sequence] = search
        return finished

    def step(self, keep_finished: bool = False) -> StepResult:
        """Chooses the next token of every row; the sequences that finish leave.

        A step that raises is repeated row by row, so a sequence that cannot run fails alone, and leaves. With
        `keep_finished`, which is for greedy sequences that joined together, those that finish stay and take
        part in every step until the last one has finished.
        """
        result = StepResult()
        self._close_holes()
        slots, rows = self._slots, self.rows
        if not rows:
            return result
        past_len = slots.past_len[:rows]
        slots.forbidden[:rows, 1] = np.where(past_len < slots.min_new[:rows], self.eos_id, -1)
        parents: dict[Sequence, list[int]] = {}
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
        for sequence in parents:
            ended[self._slots_of[sequence]] = self._searches[sequence].finished
        if errors or ended.any():
            for sequence, group in [*self._slots_of.items()]:
                failed = [errors[slot] for slot in group if slot in errors]
                if failed:
                    result.failed.append((sequence, failed[0]))
                    self.remove(sequence)
                elif ended[group[0]] and sequence not in self._kept:
                    greedy = slots.answers[group[0], : past_len[group[0]]].tolist()
                    tokens_of = self._searches[sequence].best if sequence in parents else greedy
                    result.finished.append((sequence, tokens_of))
                    self._kept.add(sequence)
            if not keep_finished or len(self._kept) == len(self._slots_of):
                for sequence in [*self._kept]:
                    self.remove(sequence)
        for sequence in parents.keys() & self._slots_of.keys():
            self._reorder(sequence, parents[sequence])
        return result

    def remove(self, sequence: Sequence) -> None:
        """Frees the slots of a sequence at once; KeyError where it has none."""
        for slot in self._slots_of.pop(sequence):
            self._slots.leave(slot)
        self._searches.pop(sequence, None)
        self._kept.discard(sequence)

    def _check(self, sequences: list[Sequence]) -> None:
        if any(sequence.num_beams < 1 for sequence in sequences):
            raise ValueError("num_beams must be at least 1")
        needed = sum(sequence.num_beams for sequence in sequences if sequence.max_new_tokens > 0)
        if needed > self.free_slots:
            raise ValueError(f"{needed} rows for {self.free_slots} free slots")
        if len({*sequences}) < len(sequences) or not self._slots_of.keys().isdisjoint(sequences):
            raise ValueError("a sequence joins twice")
        if not all(sequence.source for sequence in sequences):
            raise ValueError("a source has no tokens")
        longest = max((max(len(one.source), one.max_new_tokens) for one in sequences), default=0)
        if longest > self.max_positions:
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

    def _advance(self, errors: Container[int]) -> dict[Sequence, list[int]]:
        """The parents of the beams of every sequence whose run has not raised; writes over their logits."""
        slots, parents = self._slots, {}
        for sequence, search in self._searches.items():
            group = self._slots_of[sequence]
            if not any(slot in errors for slot in group):
                scales = slots.logits_scale[group, 0].tolist()
                parents[sequence] = search.advance([slots.logits[slot] for slot in group], scales)
        return parents

    def _reorder(self, sequence: Sequence, parents: list[int]) -> None:
        """Gives each beam its parent's past and its own last token."""
        group, copies = placed(parents, self._slots_of[sequence])
        for source, target in copies:
            self._slots.copy_past(source, target)
        self._slots_of[sequence] = group
        self._slots.input_ids[group, 0] = self._searches[sequence].last_tokens

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
