"""Beam search gives Hugging Face's hypotheses: alone, in a batch, and in slots beside other sequences."""

import filecmp
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from marian_exports import captions, export, tiny_model
from transformers import MarianMTModel

from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.models import decode_batch
from dynamic_batching.runtime.beam_search import BeamSearch, most_likely, placed
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.sequence import Sequence
from optimized.decoder import Decoder
from optimized.runtime.graphs import Graphs as BatchGraphs
from optimized.runtime.onnx_files import find_onnx_files, kernel_library
from optimized.runtime.tokenization import MarianTokenizer

ROOT = Path(__file__).resolve().parents[2]
SLOTS = 16
MAX_NEW = 24
TIED_SCORES = 1e-4
BEAMS = range(2, 7)


# Added to the end token's logits; without it a random model hardly ever ends a text. None: no final bias.
END_BIASES = [None, 4.0, 5.0]


@cache
def tiny(end_bias: float | None) -> MarianMTModel:
    model = tiny_model("swish", scale_embedding=True, final_bias=end_bias is not None)
    if end_bias is not None:
        model.final_logits_bias[0, model.config.eos_token_id] += end_bias
    return model


@pytest.fixture(scope="module", params=END_BIASES)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[MarianMTModel, Path]:
    model = tiny(request.param)
    return model, export(model, tmp_path_factory.mktemp("beams"))


def random_sources(count: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[*draw.choices(range(1, 299), k=draw.randrange(1, 30)), 0] for _ in range(count)]


def beams_of_hugging_face(
    model: MarianMTModel, source: list[int], num_beams: int, max_new: int, min_new: int
) -> list[int]:
    ids = torch.tensor([source])
    answer = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=num_beams,
        do_sample=False,
        early_stopping=False,
        length_penalty=1.0,
        forced_eos_token_id=None,
        suppress_tokens=[model.config.pad_token_id],
        max_new_tokens=max_new,
        min_new_tokens=min_new,
    )
    return answer[0, 1:].tolist()


@torch.inference_mode()
def logits_after(model: MarianMTModel, source: list[int], prefixes: list[list[int]]) -> torch.Tensor:
    """The logits [B,P,V] after every token of prefixes of one length, the start token first."""
    begun = torch.tensor([[model.config.decoder_start_token_id, *prefix] for prefix in prefixes])
    logits: torch.Tensor = model(
        input_ids=torch.tensor([source] * len(prefixes)), decoder_input_ids=begun
    ).logits
    return logits


def mean_log_prob(model: MarianMTModel, source: list[int], tokens: list[int]) -> float:
    log_probs = logits_after(model, source, [tokens[:-1]])[0].log_softmax(-1)
    return float(log_probs[range(len(tokens)), tokens].mean())


def assert_same_or_tied(model: MarianMTModel, source: list[int], mine: list[int], theirs: list[int]) -> None:
    if mine != theirs:
        scores = [mean_log_prob(model, source, tokens) for tokens in (mine, theirs)]
        assert abs(scores[0] - scores[1]) < TIED_SCORES, f"{mine} instead of {theirs}: {scores}"


def search_of(
    model: MarianMTModel, source: list[int], num_beams: int, max_new: int, min_new: int, scale: float
) -> list[int]:
    """What a search finds that sees PyTorch's logits, divided by `scale`."""
    config = model.config
    search = BeamSearch(num_beams, max_new, min_new, config.eos_token_id, config.pad_token_id)
    beams: list[list[int]] = [[]]
    while not search.finished:
        logits = logits_after(model, source, beams)[:, -1].numpy() / np.float32(scale)
        parents = search.advance([*logits], [scale] * len(beams))
        beams = [[*beams[parent], token] for parent, token in zip(parents, search.last_tokens, strict=True)]
    return search.best


@pytest.mark.parametrize("num_beams", BEAMS)
@pytest.mark.parametrize(("max_new", "min_new"), [(1, 0), (2, 2), (12, 0), (24, 3), (9, 9)])
def test_a_search_finds_what_hugging_face_finds(num_beams: int, max_new: int, min_new: int) -> None:
    for seed, source in enumerate(random_sources(6, num_beams)):
        model = tiny(END_BIASES[seed % 3])
        mine = search_of(model, source, num_beams, max_new, min_new, scale=2.0 ** (2 * seed - 6))
        theirs = beams_of_hugging_face(model, source, num_beams, max_new, min_new)
        assert_same_or_tied(model, source, mine, theirs)
        assert min_new <= len(mine) <= max_new


def test_beams_find_what_greedy_decoding_does_not() -> None:
    model, sources = tiny(4.0), random_sources(24, 1)
    greedy = [beams_of_hugging_face(model, source, 1, MAX_NEW, 0) for source in sources]
    found = [search_of(model, source, 5, MAX_NEW, 0, 1.0) for source in sources]
    assert min(map(len, found)) < 6 and max(map(len, found)) == MAX_NEW
    better = [
        mean_log_prob(model, source, mine) > mean_log_prob(model, source, theirs)
        for source, mine, theirs in zip(sources, found, greedy, strict=True)
        if mine != theirs
    ]
    assert len(better) > 3 and sum(better) > len(better) / 2


@pytest.mark.parametrize("num_beams", range(1, 7))
def test_a_batch_of_texts_gets_hugging_face_hypotheses(
    num_beams: int, exported: tuple[MarianMTModel, Path]
) -> None:
    model, folder = exported
    decoder = Decoder(BatchGraphs.load(folder / "float32"))
    draw, sources = random.Random(num_beams), random_sources(12, num_beams)
    most = [draw.randrange(MAX_NEW + 1) for _ in sources]
    least = [draw.choice([0, 0, limit // 2, limit]) for limit in most]
    found = decoder.generate(sources, most, least, num_beams)
    assert decoder.generate([], [], [], num_beams) == []
    for source, mine, max_new, min_new in zip(sources, found, most, least, strict=True):
        theirs = beams_of_hugging_face(model, source, num_beams, max_new, min_new) if max_new else []
        assert_same_or_tied(model, source, mine, theirs)


def decode_in_random_company(
    decoder: SlotDecoder, sequences: list[Sequence], seed: int
) -> dict[Sequence, list[int]]:
    """The answers of `sequences`, which join at random steps; one in twenty is removed and joins again."""
    draw = random.Random(seed)
    waiting = sequences[::-1]
    answers: dict[Sequence, list[int]] = {}
    while waiting or decoder.rows:
        while waiting and waiting[-1].num_beams <= decoder.free_slots and draw.random() < 0.6:
            answers.update(decoder.join([waiting.pop()]))
        if decoder.rows and draw.random() < 0.05:
            chosen = draw.choice(decoder.running)
            decoder.remove(chosen)
            waiting.append(chosen)
        assert decoder.rows == sum(each.num_beams for each in decoder.running)
        result = decoder.step()
        assert not result.failed
        answers.update(result.finished)
    assert decoder.free_slots == decoder.max_batch_size and not decoder._searches
    return answers


def mixed(sources: list[list[int]], seed: int, max_new: Callable[[list[int]], int]) -> list[Sequence]:
    draw = random.Random(seed)
    return [
        Sequence(source, max_new(source), draw.choice([0, 3]), draw.choice([1, 1, 2, 3, 4, 5, 6]))
        for source in sources
    ]


def test_sequences_of_any_beams_that_share_steps_get_hugging_face_hypotheses(
    exported: tuple[MarianMTModel, Path],
) -> None:
    model, folder = exported
    sequences = mixed(random_sources(40, 8), 8, lambda source: MAX_NEW)
    answers = decode_in_random_company(SlotDecoder(Graphs.load(folder / "float32"), SLOTS), sequences, 8)
    for each in sequences:
        theirs = beams_of_hugging_face(model, each.source, each.num_beams, MAX_NEW, each.min_new_tokens)
        assert_same_or_tied(model, each.source, answers[each], theirs)


@cache
def embedded() -> tuple[tuple[Path, Path | None], list[list[int]]]:
    """What the graphs are loaded from, and sources."""
    files = find_onnx_files(EMBEDDED, "translation")
    tokenizer = MarianTokenizer(files.folder)
    return (files.folder, kernel_library(files)), [tokenizer.encode(text) for text in captions(48)]


def test_int8_answers_do_not_depend_on_slots_or_batch_mates() -> None:
    files, sources = embedded()
    sequences = mixed(sources, 5, lambda source: 2 * len(source) + 16)
    slots, batch = SlotDecoder(Graphs.load(*files), SLOTS), Decoder(BatchGraphs.load(*files))
    answers = decode_in_random_company(slots, sequences, 5)
    alone = {
        each: batch.generate([each.source], [each.max_new_tokens], [each.min_new_tokens], each.num_beams)[0]
        for each in sequences
    }
    assert answers == alone
    for num_beams in (1, 4):
        most = [2 * len(source) + 16 for source in sources]
        limited = [Sequence(source, limit, 0, num_beams) for source, limit in zip(sources, most, strict=True)]
        assert decode_batch(slots, limited) == batch.generate(sources, most, [0] * len(most), num_beams)


def test_a_sequence_whose_beam_cannot_run_fails_alone() -> None:
    files, sources = embedded()
    decoder = SlotDecoder(Graphs.load(*files), SLOTS)
    sequences = [Sequence(sources[at], 20, 0, beams) for at, beams in enumerate([3, 1, 4, 1])]
    alone = {each: decode_batch(SlotDecoder(Graphs.load(*files), SLOTS), [each])[0] for each in sequences}
    decoder.join(sequences)
    for _ in range(2):
        decoder.step()
    failing = sequences[2]
    bad = decoder._slots_of[failing][-1]
    run = decoder.decoder

    class Broken:
        def __getattr__(self, name: str) -> Any:
            return getattr(run, name)

        def run_with_iobinding(self, binding: Any) -> None:
            run.run_with_iobinding(binding)
            start = binding.get_outputs()[0].data_ptr() - decoder._slots.logits.ctypes.data
            first = start // decoder._slots.logits.strides[0]
            if first <= bad < first + binding.get_outputs()[0].shape()[0]:
                raise RuntimeError("broken step")

    decoder.decoder = Broken()  # type: ignore[assignment]
    result = decoder.step()
    assert [(each, str(error)) for each, error in result.failed] == [(failing, "broken step")]
    assert decoder.free_slots == SLOTS - 5
    decoder.decoder = run
    answers = dict(result.finished)
    while decoder.rows:
        answers.update(decoder.step().finished)
    assert answers == {each: alone[each] for each in sequences if each is not failing}


def test_beams_that_do_not_fit_are_refused_and_none_is_taken() -> None:
    files, sources = embedded()
    decoder = SlotDecoder(Graphs.load(*files), SLOTS)
    taken = Sequence(sources[0], 9, 0, 6)
    decoder.join([taken])
    assert (decoder.rows, decoder.free_slots, decoder.running) == (6, 10, [taken])
    with pytest.raises(ValueError, match="11 rows for 10 free slots"):
        decoder.join([Sequence(sources[1], 9, 0, 6), Sequence(sources[2], 9, 0, 5)])
    with pytest.raises(ValueError, match="num_beams"):
        decoder.join([Sequence(sources[1], 9, 0, 0)])
    assert decoder.running == [taken]
    decoder.remove(taken)
    assert decoder.free_slots == SLOTS
    with pytest.raises(ValueError, match="more beams than 16 slots"):
        decode_batch(decoder, [Sequence(sources[0], 9, 0, 17)])
    none = Sequence(sources[0], 0, 0, 6)
    assert decoder.join([none]) == [(none, [])]


LOGITS = st.lists(st.sampled_from([-9.0, -1.5, -1.0, 0.0, 0.25, 2.0, 7.0]), min_size=20, max_size=400)


@given(LOGITS, st.sampled_from([0.125, 1.0, 3.0]), st.integers(1, 8), st.integers(0, 19), st.integers(0, 19))
def test_the_most_likely_tokens_and_their_log_probabilities_are_right(
    values: list[float], scale: float, count: int, first: int, second: int
) -> None:
    logits = np.array(values, np.float32)
    expected = torch.tensor(values, dtype=torch.float64).mul(scale).log_softmax(-1).numpy()
    tokens, log_probs = most_likely(logits, scale, [first, second], count)
    order = [t for t in np.argsort(-expected, kind="stable").tolist() if t not in (first, second)]
    assert tokens.tolist() == order[:count]
    np.testing.assert_allclose(log_probs, expected[tokens], atol=1e-5)


def test_log_probabilities_hold_for_a_large_vocabulary_and_large_logits() -> None:
    logits = np.random.default_rng(0).normal(200.0, 40.0, 58_101).astype(np.float32)
    expected = torch.from_numpy(logits).double().mul(0.75).log_softmax(-1).numpy()
    tokens, log_probs = most_likely(logits.copy(), 0.75, [0, 58_100], 12)
    assert tokens.tolist() == np.argsort(-expected)[:12].tolist()
    np.testing.assert_allclose(log_probs, expected[tokens], atol=1e-4)


@given(st.integers(2, 8).flatmap(lambda n: st.lists(st.integers(0, n - 1), min_size=n, max_size=n)))
def test_every_beam_gets_its_parents_past_and_no_copy_reads_what_another_wrote(parents: list[int]) -> None:
    slots = random.Random(0).sample(range(100), len(parents))
    held = {slot: beam for beam, slot in enumerate(slots)}
    found, copies = placed(parents, slots)
    assert sorted(found) == sorted(slots)
    assert len(copies) == len(parents) - len(set(parents))
    assert not {source for source, _ in copies} & {target for _, target in copies}
    for source, target in copies:
        held[target] = held[source]
    assert [held[slot] for slot in found] == parents


@pytest.mark.parametrize(("end_logit", "ended"), [(9.0, 1), (7.5, 1), (6.5, 0), (-9.0, 0)])
def test_an_end_behind_as_many_beams_as_go_on_is_no_hypothesis(end_logit: float, ended: int) -> None:
    search = BeamSearch(2, 8, 0, eos_id=0, pad_id=1)
    logits = np.zeros(50, np.float32)
    logits[[0, 1, 5, 6]] = end_logit, 20.0, 8.0, 7.0
    assert search.advance([logits], [1.0]) == [0, 0]
    assert search.last_tokens == [5, 6]
    assert [tokens for _, tokens in search._hypotheses] == [[0]] * ended and not search.finished


def test_scores_fall_as_beams_go_on() -> None:
    search = BeamSearch(4, 8, 0, eos_id=0, pad_id=1)
    draw = np.random.default_rng(1)
    while not search.finished:
        rows = draw.normal(size=(4, 50)).astype(np.float32)
        assert len(search.advance([*rows], [1.0] * 4)) in (0, 4)
        scores = [score for score, _ in search._beams]
        assert all(better >= worse for better, worse in pairwise(scores))
    assert 1 <= len(search.best) <= 8 and 1 not in search.best


def test_both_servers_search_with_the_same_file() -> None:
    files = [ROOT / folder / "runtime" / "beam_search.py" for folder in ("optimized", "dynamic_batching")]
    assert filecmp.cmp(*files, shallow=False)
