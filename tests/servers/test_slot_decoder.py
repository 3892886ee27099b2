"""The slot decoder: a sequence's tokens are its own, whatever joins, leaves or fails beside it."""

import ctypes
import mmap
import os
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import EMBEDDED
from marian_exports import assert_same_or_tied, captions, export, greedy_of_hugging_face, tiny_model
from transformers import MarianMTModel

from dynamic_batching.decoder import SlotDecoder, StepResult
from dynamic_batching.models import decode_batch
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.runtime.onnx_files import find_onnx_files, kernel_library
from dynamic_batching.runtime.tokenization import MarianTokenizer
from dynamic_batching.sequence import Sequence, runs_of_like_length
from dynamic_batching.slots import MIN_STRIDE, KeyValues

TEXTS = int(os.environ.get("GAP_TEST_TEXTS", "120"))
SLOTS = 8
MAX_NEW = 200


@cache
def embedded() -> Graphs:
    files = find_onnx_files(EMBEDDED, "translation")
    return Graphs.load(files.folder, kernel_library(files))


@cache
def sources(count: int) -> list[list[int]]:
    tokenizer = MarianTokenizer(find_onnx_files(EMBEDDED, "translation").folder)
    draw = random.Random(17)
    texts = captions(count)
    # Some are long enough for the buffers to be laid out anew.
    for index in range(0, count, 15):
        texts[index] = " ".join(draw.choices(texts, k=draw.randrange(6, 12)))
    return [tokenizer.encode(text)[:250] for text in texts]


def sequence(source: list[int]) -> Sequence:
    return Sequence(source, min(2 * len(source) + 16, MAX_NEW))


def longest_source() -> list[int]:
    return max(sources(TEXTS), key=len)


def some(start: int, stop: int) -> list[Sequence]:
    return [sequence(source) for source in sources(TEXTS)[start:stop]]


def decode_alone(sequences: list[Sequence]) -> dict[Sequence, list[int]]:
    decoder = SlotDecoder(embedded(), 1)
    return {one: decode_batch(decoder, [one])[0] for one in sequences}


@pytest.fixture
def decoder() -> SlotDecoder:
    return SlotDecoder(embedded(), SLOTS)


def drain(decoder: SlotDecoder) -> dict[Sequence, list[int]]:
    answers: dict[Sequence, list[int]] = {}
    while decoder.rows:
        result = decoder.step()
        assert not result.failed
        answers.update(result.finished)
    return answers


def decode_in_random_company(
    decoder: SlotDecoder, sequences: list[Sequence], seed: int, cancel: float
) -> tuple[dict[Sequence, list[int]], set[Sequence]]:
    """The answers of `sequences`, which join in order at random steps, and those cancelled on the way.

    Some are encoded before another step, and join after it.
    """
    draw = random.Random(seed)
    waiting, answers, cancelled = sequences[::-1], {}, set()
    while waiting or decoder.rows:
        if decoder.free_slots and draw.random() < 0.4:
            count = min(draw.randint(1, decoder.free_slots), len(waiting))
            joining = [waiting.pop() for _ in range(count)]
            encoded = decoder.encode(joining) if draw.random() < 0.5 else None
            if encoded is not None:
                answers.update(decoder.step().finished)
            answers.update(decoder.join(joining, encoded))
        if decoder.rows and draw.random() < cancel:
            chosen = draw.choice(decoder.running)
            decoder.remove(chosen)
            cancelled.add(chosen)
        result = decoder.step()
        assert not result.failed
        answers.update(result.finished)
        assert decoder.rows + decoder.free_slots == decoder.max_batch_size
    return answers, cancelled


@pytest.mark.parametrize("seed", range(3))
def test_tokens_in_random_company_are_those_of_each_alone(decoder: SlotDecoder, seed: int) -> None:
    alone = decode_alone(some(0, TEXTS))
    order = random.Random(seed).sample([*alone], TEXTS)
    answers, cancelled = decode_in_random_company(decoder, order, seed, cancel=0.02)
    assert answers.keys() | cancelled == alone.keys() and not answers.keys() & cancelled
    assert 0 < len(cancelled) < TEXTS / 2
    assert answers == {one: alone[one] for one in answers}
    assert decoder.free_slots == SLOTS and decoder.running == []


def test_sequences_that_are_kept_until_the_last_finishes_have_the_same_tokens(
    decoder: SlotDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = decode_alone(some(0, 2 * SLOTS + 3))
    sequences, expected = [*alone], [*alone.values()]
    step = SlotDecoder.step
    widths: list[int] = []

    def counted(stepping: SlotDecoder, keep_finished: bool = False) -> StepResult:
        widths.append(stepping.rows)
        return step(stepping, keep_finished)

    monkeypatch.setattr(SlotDecoder, "step", counted)
    assert decode_batch(decoder, sequences, keep_finished=True) == expected
    runs = [expected[first : first + SLOTS] for first in range(0, len(expected), SLOTS)]
    assert widths == [len(run) for run in runs for _ in range(max(map(len, run)))]
    assert decoder.free_slots == SLOTS and decoder.running == []
    sequences[-1].num_beams = 2
    with pytest.raises(ValueError, match="no beams to keep"):
        decode_batch(decoder, sequences, keep_finished=True)


def test_sequences_that_join_at_different_steps_get_hugging_face_greedy_tokens(tmp_path: Path) -> None:
    model = tiny_model("swish", scale_embedding=True, final_bias=True)
    check_against_hugging_face(model, export(model, tmp_path) / "float32", random_sources(60))


def random_sources(count: int) -> list[list[int]]:
    draw = random.Random(2)
    return [[*draw.choices(range(1, 299), k=draw.randrange(1, 30)), 0] for _ in range(count)]


def check_against_hugging_face(model: MarianMTModel, folder: Path, batch: list[list[int]]) -> None:
    for min_new in (0, 3):
        sequences = [Sequence(source, 24, min_new) for source in batch]
        decoder = SlotDecoder(Graphs.load(folder), SLOTS)
        answers, _ = decode_in_random_company(decoder, sequences, 4, cancel=0)
        got = [answers[one] for one in sequences]
        assert_same_or_tied(model, batch, got, greedy_of_hugging_face(model, batch, 24, min_new))


class BrokenSession:
    """A session whose runs raise where `fails` says so; a decoder's is asked with the binding."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.fails: Any = lambda *_: False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, *args: Any) -> Any:
        if self.fails():
            raise RuntimeError("broken encoder")
        return self.session.run(*args)

    def run_with_iobinding(self, binding: Any) -> None:
        # The run has happened and what it wrote lies in the buffers: the worst moment to fail.
        self.session.run_with_iobinding(binding)
        if self.fails(binding):
            raise RuntimeError("broken step")


@pytest.fixture(params=["decoder", "greedy"])
def broken(request: pytest.FixtureRequest) -> SimpleNamespace:
    graphs = embedded()
    encoder, step = BrokenSession(graphs.encoder), BrokenSession(getattr(graphs, request.param))
    if step.session is None:
        pytest.skip("these models have no step that chooses tokens itself")
    parts = (encoder, step) if request.param == "decoder" else (encoder, graphs.decoder, step)
    return SimpleNamespace(encoder=encoder, step=step, decoder=SlotDecoder(Graphs(*parts), SLOTS))


def runs_slot(decoder: SlotDecoder, bad: set[int]) -> Callable[[Any], bool]:
    """Whether a binding's rows include one of the slots `bad`."""
    slots = decoder._slots
    outputs = slots.logits if decoder.greedy is None else slots.next_ids

    def has_bad_row(binding: Any) -> bool:
        output = binding.get_outputs()[0]
        start = (output.data_ptr() - outputs.ctypes.data) // outputs.strides[0]
        return not bad.isdisjoint(range(start, start + output.shape()[0]))

    return has_bad_row


@pytest.mark.parametrize("bad", [{0}, {3}, {6}, {1, 4, 5}, set(range(7))])
def test_a_sequence_that_cannot_run_fails_alone(broken: SimpleNamespace, bad: set[int]) -> None:
    alone = decode_alone(some(1, 8))
    decoder, sequences = broken.decoder, [*alone]
    decoder.join(sequences)
    answers: dict[Sequence, list[int]] = {}
    for _ in range(3):
        answers.update(decoder.step().finished)
    # Their rows lie in the order that they joined in, and none has left.
    assert decoder.running == sequences
    broken.step.fails = runs_slot(decoder, bad)
    result = decoder.step()
    answers.update(result.finished)
    assert {one for one, _ in result.failed} == {sequences[slot] for slot in bad}
    assert all(str(error) == "broken step" for _, error in result.failed)
    broken.step.fails = lambda binding: False
    answers.update(drain(decoder))
    assert answers == {one: alone[one] for slot, one in enumerate(sequences) if slot not in bad}
    assert decoder.free_slots == SLOTS


def test_a_step_that_fails_once_costs_no_sequence_its_tokens(broken: SimpleNamespace) -> None:
    alone = decode_alone(some(0, SLOTS))
    runs = iter(range(10_000))
    broken.step.fails = lambda binding: next(runs) % 20 == 0
    broken.decoder.join([*alone])
    assert drain(broken.decoder) == alone


def test_an_encoder_that_fails_leaves_all_as_it_was(broken: SimpleNamespace) -> None:
    alone = decode_alone(some(0, 4))
    decoder, sequences = broken.decoder, [*alone]
    decoder.join(sequences[:2])
    decoder.step()
    broken.encoder.fails = lambda: True
    with pytest.raises(RuntimeError, match="broken encoder"):
        decoder.join(sequences[2:])
    assert decoder.running == sequences[:2] and decoder.free_slots == SLOTS - 2
    broken.encoder.fails = lambda: False
    decoder.join(sequences[2:])
    assert drain(decoder) == alone


def test_a_batch_raises_what_a_sequence_raised_and_leaves_none_behind(broken: SimpleNamespace) -> None:
    texts = sources(TEXTS)[:3]
    broken.step.fails = runs_slot(broken.decoder, {1})
    with pytest.raises(RuntimeError, match="broken step"):
        decode_batch(broken.decoder, [Sequence(text, 9) for text in texts])
    broken.step.fails = lambda binding: False
    assert broken.decoder.free_slots == SLOTS
    answers = decode_batch(broken.decoder, [Sequence(text, 9, 9) for text in texts])
    assert [len(tokens) for tokens in answers] == [9] * 3


def test_no_buffer_moves_over_many_joins(decoder: SlotDecoder) -> None:
    slots = decoder._slots
    arrays = [value for value in vars(slots).values() if isinstance(value, np.ndarray)]
    buffers = (slots._past, slots._cross)

    def addresses() -> list[int]:
        return [array.ctypes.data for array in (*arrays, *(keys.tensors for keys in buffers))]

    before, strides = addresses(), set()
    assert len(before) == 12
    for start in range(0, 60, 5):
        decoder.join(some(start, start + 5))
        strides.add(slots._past.stride)
        drain(decoder)
        assert addresses() == before
    assert len(strides) > 1
    decoder.join([Sequence(sources(TEXTS)[1], 20)])
    bound = slots.binding(decoder.decoder, 1)
    drain(decoder)
    decoder.join([Sequence(sources(TEXTS)[2], 20)])
    assert slots.binding(decoder.decoder, 1) is bound


def test_a_long_sequence_beside_short_ones_changes_no_tokens(decoder: SlotDecoder) -> None:
    long, short, other = sequences = [sequence(longest_source()), *some(1, 3)]
    assert len(long.source) > MIN_STRIDE
    alone = decode_alone(sequences)
    decoder.join([short])
    answers = dict(decoder.step().finished)
    decoder.join([long])
    for _ in range(4):
        answers.update(decoder.step().finished)
    decoder.remove(long)
    decoder.join([other])
    assert decoder._slots._past.stride == decoder._slots._cross.stride == MIN_STRIDE
    answers.update(drain(decoder))
    assert answers == {short: alone[short], other: alone[other]}
    assert decode_batch(decoder, [long]) == [alone[long]]


def resident_pages(keys: KeyValues, after_bytes: int = 0) -> int:
    """Pages of the buffers behind `after_bytes` that hold memory, by mincore(2)."""
    pages = -(-keys._memory.nbytes // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * pages)()
    start = ctypes.c_void_p(keys._memory.ctypes.data)
    assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(keys._memory.nbytes), states) == 0
    return sum(state & 1 for state in states[after_bytes // mmap.PAGESIZE :])


def test_what_an_unusually_long_row_took_is_given_back_and_what_is_usual_stays() -> None:
    graphs = embedded()
    decoder = SlotDecoder(Graphs(graphs.encoder, graphs.decoder), 5)
    short = [text for text in sources(TEXTS) if 10 < len(text) < 16][:4]
    usual = [Sequence(text, 20, 19) for text in short]
    for _ in range(100):
        decoder.join(usual)
        drain(decoder)
    buffers = decoder._slots._past, decoder._slots._cross
    before = [resident_pages(keys) for keys in buffers]
    long = longest_source()[:100]
    decoder.join([*usual, Sequence(long, 110, 109)])
    while decoder.rows:
        most = [resident_pages(keys) for keys in buffers]
        decoder.step()
    for keys, then, at_most in zip(buffers, before, most, strict=True):
        # The long row had a slot of its own, which keeps what a usual one may take.
        assert then < resident_pages(keys) <= then + (at_most - then) / 2
    past, behind = buffers[0], buffers[0].tensors.nbytes
    longest = Sequence(long, decoder.max_positions, decoder.max_positions - 1)
    decoder.join([*usual, longest])
    decoder.step()
    assert resident_pages(past, behind) > 0
    decoder.remove(longest)
    drain(decoder)
    decoder.join(usual[:1])
    # What lies behind the rows' shorter layout is free again.
    assert (resident_pages(past, behind), past.stride) == (0, MIN_STRIDE)
    drain(decoder)


def test_a_few_long_texts_do_not_pad_the_many_short_ones_that_join_with_them(decoder: SlotDecoder) -> None:
    sequences = [Sequence([1] * length, 9) for length in (12, 200, 9, 30, 180, 9)]
    runs = [[sequences.index(one) for one in run] for run in runs_of_like_length(sequences)]
    assert runs == [[1, 4, 3], [0, 2, 5]]
    assert runs_of_like_length(sequences[:1]) == [sequences[:1]]
    alike = [Sequence([1] * (10 + index % 5), 9) for index in range(50)]
    assert len(runs_of_like_length(alike)) == 1
    alone = decode_alone([sequence(longest_source()), *some(1, 5)])
    assert decode_batch(decoder, [*alone]) == [*alone.values()]


def test_limits_hold_for_each_sequence(decoder: SlotDecoder) -> None:
    exact = [(3 * index) % 17 for index in range(40)]
    limited = [Sequence(text, most, most) for text, most in zip(sources(TEXTS)[:40], exact, strict=True)]
    assert [len(tokens) for tokens in decode_batch(decoder, limited)] == exact
    assert decode_batch(decoder, []) == []
    none, two = Sequence(sources(TEXTS)[1], 0), Sequence(sources(TEXTS)[1], 2, 2)
    assert decoder.join([none, two]) == [(none, [])]
    assert decoder.running == [two] and decoder.rows == 1
    assert decoder.step().finished == []
    ((finished, tokens),) = decoder.step().finished
    assert finished is two and len(tokens) == 2
    assert decoder.step().finished == []


def test_sequences_that_do_not_fit_are_refused_and_none_is_taken(decoder: SlotDecoder) -> None:
    text = sources(TEXTS)[1]
    taken, new = Sequence(text, 9), Sequence(text, 9)
    decoder.join([taken])
    for sequences, message in (
        ([Sequence(text, 9) for _ in range(SLOTS)], "8 rows for 7 free slots"),
        ([taken], "joins twice"),
        ([new, new], "joins twice"),
        ([new, Sequence([], 9)], "no tokens"),
        ([new, Sequence([5] * 257, 9)], "at most 256 tokens"),
        ([new, Sequence(text, 257)], "at most 256 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            decoder.join(sequences)
        assert decoder.running == [taken]
    with pytest.raises(KeyError):
        decoder.remove(new)
    with pytest.raises(RuntimeError, match="being decoded"):
        decode_batch(decoder, [new])
    with pytest.raises(ValueError, match="at most 256 tokens"):
        decode_batch(SlotDecoder(embedded(), 1), [new, Sequence(text, 257)])
