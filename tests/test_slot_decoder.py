"""The slot decoder: a text's tokens are its own, whoever joins, leaves or fails beside it."""

import ctypes
import mmap
import os
import random
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import MarianMTModel

from dynamic_batching.artefacts import find_artefact
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.graphs import Graphs
from dynamic_batching.row import Row, StepResult, runs_of_like_length
from dynamic_batching.slots import MIN_STRIDE, KeyValues
from dynamic_batching.tokenization import MarianTokenizer
from tests.conftest import EMBEDDED
from tests.test_marian_graphs import (
    assert_same_or_tied,
    captions,
    export,
    greedy_of_hugging_face,
    tiny_model,
)

TEXTS = int(os.environ.get("GAP_TEST_TEXTS", "120"))
SLOTS = 8
MAX_NEW = 200


@cache
def embedded() -> Graphs:
    artefact = find_artefact(EMBEDDED, "translation/onnx")
    return Graphs.load(artefact.folder, artefact.kernels)


@cache
def sources(count: int) -> list[list[int]]:
    tokenizer = MarianTokenizer(find_artefact(EMBEDDED, "translation/onnx").folder)
    draw = random.Random(17)
    texts = captions(count)
    # Some are long enough for the buffers to be laid out anew.
    for index in range(0, count, 15):
        texts[index] = " ".join(draw.choices(texts, k=draw.randrange(6, 12)))
    return [tokenizer.encode(text)[:250] for text in texts]


def limit(source: list[int]) -> int:
    return min(2 * len(source) + 16, MAX_NEW)


@pytest.fixture
def decoder() -> SlotDecoder:
    return SlotDecoder(embedded(), SLOTS)


def drain(decoder: SlotDecoder) -> dict[Hashable, list[int]]:
    answers: dict[Hashable, list[int]] = {}
    while decoder.rows:
        result = decoder.step()
        assert not result.failed
        answers.update(result.finished)
    return answers


def decode_in_random_company(
    decoder: SlotDecoder, rows: list[Row], seed: int, cancel: float
) -> tuple[dict[Hashable, list[int]], set[Hashable]]:
    """The answers of `rows`, which join in order at random steps, and the keys cancelled on the way.

    Some are encoded before another step, and join after it.
    """
    draw = random.Random(seed)
    waiting, answers, cancelled = rows[::-1], {}, set()
    while waiting or decoder.rows:
        if decoder.free and draw.random() < 0.4:
            count = min(draw.randint(1, decoder.free), len(waiting))
            joining = [waiting.pop() for _ in range(count)]
            encoded = decoder.encode(joining) if draw.random() < 0.5 else None
            if encoded is not None:
                answers.update(decoder.step().finished)
            answers.update(decoder.join(joining, encoded))
        if decoder.rows and draw.random() < cancel:
            key = draw.choice(decoder.keys)
            decoder.remove(key)
            cancelled.add(key)
        result = decoder.step()
        assert not result.failed
        answers.update(result.finished)
        assert decoder.rows + decoder.free == decoder.max_batch_size
    return answers, cancelled


@pytest.mark.parametrize("seed", range(3))
def test_tokens_in_random_company_are_those_of_each_alone(decoder: SlotDecoder, seed: int) -> None:
    texts = sources(TEXTS)
    alone = {key: decoder.generate([text], [limit(text)], [0])[0] for key, text in enumerate(texts)}
    order = random.Random(seed).sample(range(TEXTS), TEXTS)
    rows = [Row(key, texts[key], limit(texts[key])) for key in order]
    answers, cancelled = decode_in_random_company(decoder, rows, seed, cancel=0.02)
    assert answers.keys() | cancelled == alone.keys() and not answers.keys() & cancelled
    assert 0 < len(cancelled) < TEXTS / 2
    assert answers == {key: alone[key] for key in answers}
    assert decoder.free == SLOTS and decoder.keys == []


def test_rows_that_are_kept_to_the_end_of_the_last_change_no_tokens(
    decoder: SlotDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sources(2 * SLOTS + 3)
    limits = [limit(text) for text in texts]
    expected = [decoder.generate([text], [most], [0])[0] for text, most in zip(texts, limits, strict=True)]
    step = SlotDecoder.step
    widths: list[int] = []

    def counted(stepping: SlotDecoder, keep_ended: bool = False) -> StepResult:
        widths.append(stepping.rows)
        return step(stepping, keep_ended)

    monkeypatch.setattr(SlotDecoder, "step", counted)
    assert decoder.generate(texts, limits, [0] * len(texts), keep_ended=True) == expected
    runs = [expected[first : first + SLOTS] for first in range(0, len(texts), SLOTS)]
    assert widths == [len(run) for run in runs for _ in range(max(map(len, run)))]
    assert decoder.free == SLOTS and decoder.keys == []
    with pytest.raises(ValueError, match="no beams to keep"):
        decoder.generate(texts, limits, [0] * len(texts), num_beams=2, keep_ended=True)


def test_rows_that_join_at_different_steps_get_hugging_face_greedy_tokens(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = tiny_model("swish", scale_embedding=True, final_bias=True)
    check_against_hugging_face(model, export(model, tmp_path) / "float32", random_sources(60))
    torch.set_num_threads(threads)


def random_sources(count: int) -> list[list[int]]:
    draw = random.Random(2)
    return [[*draw.choices(range(1, 299), k=draw.randrange(1, 30)), 0] for _ in range(count)]


def check_against_hugging_face(model: MarianMTModel, folder: Path, batch: list[list[int]]) -> None:
    for min_new in (0, 3):
        rows = [Row(index, source, 24, min_new) for index, source in enumerate(batch)]
        answers, _ = decode_in_random_company(SlotDecoder(Graphs.load(folder), SLOTS), rows, 4, cancel=0)
        got = [answers[index] for index in range(len(batch))]
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
def test_a_row_that_cannot_run_fails_alone(broken: SimpleNamespace, bad: set[int]) -> None:
    texts = sources(TEXTS)[1:8]
    alone = [SlotDecoder(embedded(), 1).generate([text], [limit(text)], [0])[0] for text in texts]
    decoder = broken.decoder
    decoder.join([Row(key, text, limit(text)) for key, text in enumerate(texts)])
    answers: dict[Hashable, list[int]] = {}
    for _ in range(3):
        answers.update(decoder.step().finished)
    # The rows lie in the order that they joined in, and none has left.
    assert decoder.keys == list(range(7))
    broken.step.fails = runs_slot(decoder, bad)
    result = decoder.step()
    answers.update(result.finished)
    assert {key for key, _ in result.failed} == bad
    assert all(str(error) == "broken step" for _, error in result.failed)
    broken.step.fails = lambda binding: False
    answers.update(drain(decoder))
    assert answers == {key: alone[key] for key in range(7) if key not in bad}
    assert decoder.free == SLOTS


def test_a_step_that_fails_once_costs_no_row_its_tokens(broken: SimpleNamespace) -> None:
    texts = sources(TEXTS)[:SLOTS]
    alone = [SlotDecoder(embedded(), 1).generate([text], [limit(text)], [0])[0] for text in texts]
    runs = iter(range(10_000))
    broken.step.fails = lambda binding: next(runs) % 20 == 0
    broken.decoder.join([Row(key, text, limit(text)) for key, text in enumerate(texts)])
    assert drain(broken.decoder) == dict(enumerate(alone))


def test_an_encoder_that_fails_leaves_all_as_it_was(broken: SimpleNamespace) -> None:
    texts = sources(TEXTS)[:4]
    alone = [SlotDecoder(embedded(), 1).generate([text], [limit(text)], [0])[0] for text in texts]
    decoder = broken.decoder
    decoder.join([Row(key, text, limit(text)) for key, text in enumerate(texts[:2])])
    decoder.step()
    broken.encoder.fails = lambda: True
    with pytest.raises(RuntimeError, match="broken encoder"):
        decoder.join([Row(key, texts[key], limit(texts[key])) for key in (2, 3)])
    assert decoder.keys == [0, 1] and decoder.free == SLOTS - 2
    broken.encoder.fails = lambda: False
    decoder.join([Row(key, texts[key], limit(texts[key])) for key in (2, 3)])
    assert drain(decoder) == dict(enumerate(alone))


def test_generate_raises_what_a_row_raised_and_leaves_no_row(broken: SimpleNamespace) -> None:
    broken.step.fails = runs_slot(broken.decoder, {1})
    with pytest.raises(RuntimeError, match="broken step"):
        broken.decoder.generate(sources(TEXTS)[:3], [9] * 3, [0] * 3)
    broken.step.fails = lambda binding: False
    assert broken.decoder.free == SLOTS
    assert [len(row) for row in broken.decoder.generate(sources(TEXTS)[:3], [9] * 3, [9] * 3)] == [9] * 3


def test_no_buffer_moves_over_many_joins(decoder: SlotDecoder) -> None:
    slots = decoder._slots
    arrays = [value for value in vars(slots).values() if isinstance(value, np.ndarray)]
    buffers = (slots._past, slots._cross)

    def addresses() -> list[int]:
        return [array.ctypes.data for array in (*arrays, *(keys.tensors for keys in buffers))]

    before, strides = addresses(), set()
    assert len(before) == 12
    texts = sources(TEXTS)
    for start in range(0, 60, 5):
        decoder.join([Row(key, texts[key], limit(texts[key])) for key in range(start, start + 5)])
        strides.add(slots._past.stride)
        drain(decoder)
        assert addresses() == before
    assert len(strides) > 1
    decoder.join([Row("short", texts[1], 20)])
    bound = slots.binding(decoder.decoder, 1)
    drain(decoder)
    decoder.join([Row("another", texts[2], 20)])
    assert slots.binding(decoder.decoder, 1) is bound


def test_a_long_row_beside_short_ones_changes_no_tokens(decoder: SlotDecoder) -> None:
    short, other = sources(TEXTS)[1:3]
    long = max(sources(TEXTS), key=len)
    assert len(long) > MIN_STRIDE
    alone = [decoder.generate([text], [limit(text)], [0])[0] for text in (short, long, other)]
    decoder.join([Row("short", short, limit(short))])
    answers = dict(decoder.step().finished)
    decoder.join([Row("long", long, limit(long))])
    for _ in range(4):
        answers.update(decoder.step().finished)
    decoder.remove("long")
    decoder.join([Row("other", other, limit(other))])
    assert decoder._slots._past.stride == decoder._slots._cross.stride == MIN_STRIDE
    answers.update(drain(decoder))
    assert answers == {"short": alone[0], "other": alone[2]}
    assert decoder.generate([long], [limit(long)], [0]) == [alone[1]]


def resident_pages(keys: KeyValues, after_bytes: int = 0) -> int:
    """Pages of the buffers behind `after_bytes` that hold memory, by mincore(2)."""
    pages = -(-keys._memory.nbytes // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * pages)()
    start = ctypes.c_void_p(keys._memory.ctypes.data)
    assert ctypes.CDLL(None).mincore(start, ctypes.c_size_t(keys._memory.nbytes), states) == 0
    return sum(state & 1 for state in states[after_bytes // mmap.PAGESIZE :])


def test_what_an_unusually_long_row_took_is_given_back_and_what_is_usual_stays(decoder: SlotDecoder) -> None:
    decoder = SlotDecoder(Graphs(decoder.encoder, decoder.decoder), 5)
    short = [text for text in sources(TEXTS) if 10 < len(text) < 16][:4]
    usual = [Row(key, text, 20, 19) for key, text in enumerate(short)]
    for _ in range(100):
        decoder.join(usual)
        drain(decoder)
    buffers = decoder._slots._past, decoder._slots._cross
    before = [resident_pages(keys) for keys in buffers]
    long = max(sources(TEXTS), key=len)[:100]
    decoder.join([*usual, Row("long", long, 110, 109)])
    while decoder.rows:
        most = [resident_pages(keys) for keys in buffers]
        decoder.step()
    for keys, then, at_most in zip(buffers, before, most, strict=True):
        # The long row had a slot of its own, which keeps what a usual one may take.
        assert then < resident_pages(keys) <= then + (at_most - then) / 2
    past, behind = buffers[0], buffers[0].tensors.nbytes
    decoder.join([*usual, Row("longest", long, decoder.max_positions, decoder.max_positions - 1)])
    decoder.step()
    assert resident_pages(past, behind) > 0
    decoder.remove("longest")
    drain(decoder)
    decoder.join(usual[:1])
    # What lies behind the rows' shorter layout is free again.
    assert (resident_pages(past, behind), past.stride) == (0, MIN_STRIDE)
    drain(decoder)


def test_a_few_long_texts_do_not_pad_the_many_short_ones_that_join_with_them(decoder: SlotDecoder) -> None:
    rows = [Row(key, [1] * length, 9) for key, length in enumerate((12, 200, 9, 30, 180, 9))]
    runs = [[row.key for row in run] for run in runs_of_like_length(rows)]
    assert runs == [[1, 4, 3], [0, 2, 5]]
    assert runs_of_like_length(rows[:1]) == [rows[:1]]
    alike = [Row(key, [1] * (10 + key % 5), 9) for key in range(50)]
    assert len(runs_of_like_length(alike)) == 1
    long, short = max(sources(TEXTS), key=len), sources(TEXTS)[1:5]
    alone = [decoder.generate([text], [limit(text)], [0])[0] for text in (long, *short)]
    assert decoder.generate([long, *short], [*map(limit, (long, *short))], [0] * 5) == alone


def test_limits_hold_for_each_row(decoder: SlotDecoder) -> None:
    exact = [(3 * index) % 17 for index in range(40)]
    assert [len(row) for row in decoder.generate(sources(TEXTS)[:40], exact, exact)] == exact
    assert decoder.generate([], [], []) == []
    text = sources(TEXTS)[1]
    assert decoder.join([Row("none", text, 0), Row("two", text, 2, 2)]) == [("none", [])]
    assert decoder.keys == ["two"] and decoder.rows == 1
    assert decoder.step().finished == []
    ((key, tokens),) = decoder.step().finished
    assert key == "two" and len(tokens) == 2
    assert decoder.step().finished == []


def test_rows_that_do_not_fit_are_refused_and_none_is_taken(decoder: SlotDecoder) -> None:
    text = sources(TEXTS)[1]
    decoder.join([Row("taken", text, 9)])
    for rows, message in (
        ([Row(key, text, 9) for key in range(SLOTS)], "8 rows for 7 free slots"),
        ([Row("taken", text, 9)], "same key"),
        ([Row("new", text, 9), Row("new", text, 9)], "same key"),
        ([Row("new", text, 9), Row("empty", [], 9)], "no tokens"),
        ([Row("new", text, 9), Row("long", [5] * 257, 9)], "at most 256 tokens"),
        ([Row("new", text, 9), Row("long", text, 257)], "at most 256 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            decoder.join(rows)
        assert decoder.keys == ["taken"]
    with pytest.raises(KeyError):
        decoder.remove("new")
    with pytest.raises(RuntimeError, match="being decoded"):
        decoder.generate([text], [9], [0])
    with pytest.raises(ValueError, match="at most 256 tokens"):
        SlotDecoder(embedded(), 1).generate([text, text], [9, 257], [0, 0])
