"""Greedy decoding in slots, on one core: texts join and leave between any two steps.

Every buffer that a step reads or writes is reserved once and bound where it lies, so a step copies no cache.
Occupied slots lie side by side when a step runs: a text that joins takes a hole that another left, and the
holes nobody took are filled with the last rows.
"""

import logging
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from .slots import Slots

log = logging.getLogger(__name__)


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """A CPU session that runs on the calling thread; external weights are found beside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Graphs:
    """The encoder and the single-step decoder, shared by every thread: a session's run is thread-safe."""

    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession

    @classmethod
    def load(cls, folder: Path) -> "Graphs":
        return cls(load_session(folder / "encoder.onnx"), load_session(folder / "decoder.onnx"))


@dataclass(frozen=True)
class Row:
    """A text to decode: its tokens, its limits, and the key that its answer comes back under.

    It ends at its end token or after `max_new_tokens`; the end token is not chosen before `min_new_tokens`.
    """

    key: Hashable
    source: list[int]
    max_new_tokens: int
    min_new_tokens: int = 0


Finished = list[tuple[Hashable, list[int]]]


@dataclass(frozen=True)
class StepResult:
    """The rows that left in a step: with their tokens, or with what their run raised.

    Tokens are without the start token, and with the end token if it was chosen.
    """

    finished: Finished = field(default_factory=list)
    failed: list[tuple[Hashable, Exception]] = field(default_factory=list)


class SlotDecoder:
    """Decodes up to `max_batch_size` rows of any age at once. Threads share graphs, not decoders.

    The tokens of a row are those of Hugging Face's `generate` with num_beams=1, do_sample=False,
    forced_eos_token_id=None and suppress_tokens=[pad], whatever rows it shares its steps with.
    """

    def __init__(self, graphs: Graphs, max_batch_size: int) -> None:
        self.encoder = graphs.encoder
        self.decoder = graphs.decoder
        self.max_batch_size = max_batch_size
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.max_positions = int(facts["max_position_embeddings"])
        self._slots = Slots(self.decoder, max_batch_size, self.max_positions)
        self._slot_of: dict[Hashable, int] = {}

    @property
    def rows(self) -> int:
        """How many slots are occupied."""
        return len(self._slot_of)

    @property
    def free(self) -> int:
        return self.max_batch_size - len(self._slot_of)

    @property
    def keys(self) -> list[Hashable]:
        """The keys of the rows that are being decoded."""
        return [*self._slot_of]

    def join(self, rows: list[Row]) -> Finished:
        """Encodes `rows` in one run and gives each a slot; the next step decodes them.

        Returns those that finish at once, for want of tokens to choose; they need no slot.
        Raises ValueError, and takes none, if there are more than `free`, a key is given twice, a source is
        empty, or a source or a limit exceeds the model's positions. If the encoder raises, none is taken.
        """
        self._check(rows)
        finished: Finished = [(row.key, []) for row in rows if row.max_new_tokens <= 0]
        rows = [row for row in rows if row.max_new_tokens > 0]
        if not rows:
            return finished
        cross, src_len = self._encode([row.source for row in rows])
        slots, occupied = self._slots, [*self._slot_of.values()]
        slots.fit(occupied, int(src_len.max()), max(row.max_new_tokens for row in rows))
        holes = sorted(set(range(self.max_batch_size)).difference(occupied))
        for index, (row, slot) in enumerate(zip(rows, holes, strict=False)):
            slots.fill(slot, cross, index, src_len[index])
            slots.input_ids[slot] = self.start_id
            slots.max_new[slot] = row.max_new_tokens
            slots.min_new[slot] = row.min_new_tokens
            self._slot_of[row.key] = slot
        return finished

    def step(self) -> StepResult:
        """Chooses the next token of every row; the rows that end leave.

        A step that raises is repeated row by row, so a row that cannot run fails alone, and leaves.
        """
        result = StepResult()
        self._close_holes()
        slots, rows = self._slots, self.rows
        if not rows:
            return result
        errors = self._run(rows)
        scores, past_len = slots.logits[:rows], slots.past_len[:rows]
        scores[past_len < slots.min_new[:rows], self.eos_id] = -np.inf
        tokens = scores.argmax(axis=1)
        slots.input_ids[:rows, 0] = tokens
        slots.answers[np.arange(rows), past_len] = tokens
        past_len += 1
        ended = (tokens == self.eos_id) | (past_len == slots.max_new[:rows])
        if errors or ended.any():
            for key, slot in [*self._slot_of.items()]:
                if slot in errors:
                    result.failed.append((key, errors[slot]))
                    self.remove(key)
                elif ended[slot]:
                    result.finished.append((key, slots.answers[slot, : past_len[slot]].tolist()))
                    self.remove(key)
        return result

    def remove(self, key: Hashable) -> None:
        """Frees the slot of a row at once; KeyError where no row has this key."""
        del self._slot_of[key]

    def generate(
        self, batch: list[list[int]], max_new_tokens: list[int], min_new_tokens: list[int]
    ) -> list[list[int]]:
        """Greedy tokens of each source, in order: without the start token, with the end token if chosen.

        Row i ends at its end token or after `max_new_tokens[i]` tokens; the end token is not chosen before
        `min_new_tokens[i]` others. What exceeds `max_batch_size` waits for slots.
        Raises ValueError if a source or a limit exceeds the model's positions, RuntimeError if rows are
        being decoded, and what the run of a row raised; all slots are free afterwards.
        """
        if self._slot_of:
            raise RuntimeError("rows are being decoded")
        self._check_lengths([*map(len, batch), *max_new_tokens])
        texts = zip(range(len(batch)), batch, max_new_tokens, min_new_tokens, strict=True)
        waiting = [Row(*text) for text in texts]
        answers: dict[Hashable, list[int]] = {}
        try:
            while waiting or self._slot_of:
                joining, waiting = waiting[: self.free], waiting[self.free :]
                answers.update(self.join(joining))
                result = self.step()
                for _, error in result.failed:
                    raise error
                answers.update(result.finished)
        finally:
            self._slot_of.clear()
        return [answers[index] for index in range(len(batch))]

    def _check(self, rows: list[Row]) -> None:
        keys = {row.key for row in rows}
        if sum(row.max_new_tokens > 0 for row in rows) > self.free:
            raise ValueError(f"{len(rows)} rows for {self.free} free slots")
        if len(keys) < len(rows) or not self._slot_of.keys().isdisjoint(keys):
            raise ValueError("two rows have the same key")
        if not all(row.source for row in rows):
            raise ValueError("a source has no tokens")
        self._check_lengths([max(len(row.source), row.max_new_tokens) for row in rows])

    def _check_lengths(self, lengths: list[int]) -> None:
        if max(lengths, default=0) > self.max_positions:
            raise ValueError(f"sources and max_new_tokens must be at most {self.max_positions} tokens")

    def _encode(self, batch: list[list[int]]) -> tuple[list[np.ndarray], np.ndarray]:
        """Cross-attention keys and values (ck0, cv0, ck1, ...) of a batch, padded, and its `src_len`."""
        src_len = np.array([len(source) for source in batch], np.int32)
        packed = {"input_ids": np.concatenate(batch, dtype=np.int64), "src_len": src_len}
        return self.encoder.run(self._slots.cross_names, packed), src_len

    def _close_holes(self) -> None:
        """Moves the last rows into holes, so that the rows of a step lie side by side."""
        rows = self.rows
        beyond = [(key, slot) for key, slot in self._slot_of.items() if slot >= rows]
        if not beyond:
            return
        holes = sorted(set(range(rows)).difference(self._slot_of.values()))
        for (key, slot), hole in zip(beyond, holes, strict=True):
            self._slots.move(slot, hole)
            self._slot_of[key] = hole

    def _run(self, rows: int) -> dict[int, Exception]:
        """The graph's step for the first `rows` slots; the errors of those that cannot run even alone."""
        try:
            self.decoder.run_with_iobinding(self._slots.binding(rows))
            return {}
        except Exception as error:
            log.warning("a step of %s rows failed and is repeated row by row: %s", rows, error)
        errors: dict[int, Exception] = {}
        for slot in range(rows):
            try:
                self.decoder.run_with_iobinding(self._slots.bind(slot, 1))
            except Exception as error:
                errors[slot] = error
        return errors
