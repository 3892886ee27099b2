"""The seeded texts: distinct, disjoint, well formed, of natural length, and the same on every machine."""

import itertools
import math
import os
import random
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import suppress
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamic_batching.web.sentences import SentenceSplitter
from locustfiles import inputs
from locustfiles.grammar import Template, templates

DRAWS = 100_000
PLURAL = ("Two", "Three", "Four", "Some", "Several", "Many")
PAIR = re.compile(r"A \w+ and (a|his|her) ")


@cache
def drawn(task: str) -> tuple[inputs.Sample, ...]:
    return tuple(itertools.islice(inputs.unique(task, seed=11), DRAWS))


@cache
def lengths(task: str) -> list[int]:
    return sorted(len(sample.text.split()) for sample in drawn(task))


def quantile(values: list[int], share: float) -> int:
    return values[int(share * (len(values) - 1))]


def texts(samples, count: int) -> list[str]:
    return [sample.text for sample in itertools.islice(samples, count)]


@pytest.mark.parametrize("task", inputs.TASKS)
def test_a_unique_stream_never_repeats_a_text(task):
    assert len({sample.text for sample in drawn(task)}) == DRAWS


@pytest.mark.parametrize(("task", "least"), [("translation", 1_000_000), ("sentiment", 500_000)])
def test_enough_distinct_texts_for_an_hour(task, least):
    blocks = min(template.size // template.weight for template in templates(task))
    texts_of_all_blocks = blocks * sum(template.weight for template in templates(task))
    assert texts_of_all_blocks * 7 / 8 >= least
    assert texts_of_all_blocks / 8 >= least / 10


@pytest.mark.parametrize("task", inputs.TASKS)
def test_warmup_and_measured_share_no_text_whatever_the_seeds(task):
    measured = {sample.text for sample in drawn(task)}
    for seed in (11, 12):
        assert measured.isdisjoint(texts(inputs.unique(task, seed, part="warmup"), DRAWS // 2))


@pytest.mark.parametrize("task", inputs.TASKS)
def test_warmup_and_measured_use_the_same_words(task):
    spoken = [
        {word for text in texts(inputs.unique(task, 11, part), DRAWS // 2) for word in text.split()}
        for part in inputs.PARTS
    ]
    assert spoken[0] == spoken[1]


@settings(max_examples=50)
@given(size=st.integers(1, 1000))
def test_the_parts_split_every_template(size):
    numbers = Template("{} {}.", (tuple(map(str, range(size))), ("x",)))
    whole = [
        number
        for part in inputs.PARTS
        for number in texts(walk_to_the_end((numbers,), part, seed=0), size + 1)
    ]
    assert sorted(whole, key=lambda text: int(text.split()[0])) == [f"{number} x." for number in range(size)]


def walk_to_the_end(templates, part, seed):
    with suppress(inputs.InputsExhausted):
        yield from inputs.deal(templates, part, random.Random(seed))


@settings(max_examples=50)
@given(size=st.integers(0, 2000), seed=st.integers())
def test_a_shuffled_range_holds_each_number_once(size, seed):
    shuffled = inputs.ShuffledRange(size, random.Random(seed))
    assert sorted(shuffled[place] for place in range(size)) == list(range(size))
    for outside in (-1, size):
        with pytest.raises(IndexError):
            shuffled[outside]


def test_a_shuffled_range_keeps_no_trace_of_order():
    size = 50_000
    shuffled = inputs.ShuffledRange(size, random.Random(5))
    numbers = [shuffled[place] for place in range(size)]
    for lag in (1, 2, 7, 224):
        assert abs(statistics.correlation(numbers[lag:], numbers[:-lag])) < 5 / math.sqrt(size)


def test_an_exhausted_stream_raises_its_own_error(monkeypatch):
    few = Template("{} comes {}.", (("Tom", "Mary", "he", "she"), ("today", "now", "again")), weight=2)
    many = Template("{} goes {}.", (tuple(map(str, range(90))), ("home",)))
    monkeypatch.setattr(inputs, "templates", {"translation": (few, many)}.get)
    sent = []
    with pytest.raises(inputs.InputsExhausted, match="comes"):
        for sample in inputs.unique("translation"):
            sent.append(sample.text)
    blocks = (few.size - few.size // 8) // few.weight
    assert 3 * blocks <= len(sent) < 3 * (blocks + 1)
    assert len(set(sent)) == len(sent)


@pytest.mark.parametrize("task", inputs.TASKS)
def test_the_order_follows_the_seed_alone(task):
    for workload in inputs.WORKLOADS:
        first, again, other = (texts(inputs.stream(task, workload, seed), 500) for seed in (1, 1, 2))
        assert first == again
        assert first != other


def test_the_order_does_not_depend_on_the_hash_seed():
    script = (
        "import itertools; from locustfiles import inputs\n"
        "for task in inputs.TASKS:\n"
        "    for workload in inputs.WORKLOADS:\n"
        "        for sample in itertools.islice(inputs.stream(task, workload, 7), 300): print(sample)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
    assert outputs.pop().count(b"Sample(") == 1800


# Multi30k's captions have mean 11.9 words and 5 %, 50 % and 95 % quantiles 7, 11 and 19.
@pytest.mark.parametrize(
    ("task", "mean", "bands"),
    [
        ("translation", (11.5, 13.5), {0.05: (5, 7), 0.25: (8, 11), 0.5: (11, 13), 0.95: (18, 24)}),
        ("sentiment", (12, 15), {0.05: (5, 8), 0.25: (9, 12), 0.5: (11, 14), 0.95: (19, 25)}),
    ],
)
def test_lengths_have_a_natural_spread(task, mean, bands):
    words = lengths(task)
    assert words[0] >= 5
    assert words[-1] <= 30
    assert mean[0] < statistics.fmean(words) < mean[1]
    assert statistics.pstdev(words) > 3
    for share, (low, high) in bands.items():
        assert low <= quantile(words, share) <= high
    assert set(words) >= set(range(6, 27))


@pytest.mark.parametrize("task", inputs.TASKS)
def test_a_short_run_has_the_mean_length_of_a_long_one(task):
    whole = statistics.fmean(lengths(task))
    deviation = statistics.pstdev(lengths(task))
    for begin in range(0, DRAWS, 5000):
        part = [len(sample.text.split()) for sample in drawn(task)[begin : begin + 5000]]
        assert abs(statistics.fmean(part) - whole) < 4 * deviation / math.sqrt(5000)


@pytest.mark.parametrize("task", inputs.TASKS)
def test_texts_are_written_as_sentences(task):
    for sample in drawn(task):
        assert re.fullmatch(r"[A-Z][A-Za-z,: -]*[a-z][.!?]", sample.text), sample.text
        assert not re.search(r"  | [,.:!?]", sample.text), sample.text
        assert not re.search(r"\b(\w+) \1\b", sample.text.lower()), sample.text


@pytest.mark.parametrize("task", inputs.TASKS)
def test_articles_agree_with_the_sound_that_follows(task):
    followers = defaultdict(set)
    for sample in drawn(task):
        for article, word in re.findall(r"\b(an?) ([a-z-]+)", sample.text.lower()):
            followers[article].add(word)
    spoken_with_a_consonant = {"uniform", "useful", "used", "one"}
    spoken_with_a_vowel = {"hour", "honest"}
    assert followers["a"]
    assert followers["an"]
    for word in followers["a"] - spoken_with_a_consonant:
        assert word[0] not in "aeiou", word
        assert word not in spoken_with_a_vowel
    for word in followers["an"] - spoken_with_a_vowel:
        assert word[0] in "aeiou", word
        assert word not in spoken_with_a_consonant


def test_possessives_agree_with_the_subject():
    owner = {"man": "his", "boy": "his", "lady": "her", "woman": "her", "girl": "her", "dog": "its"}
    seen = Counter()
    for sample in drawn("translation"):
        possessive = re.search(r" (?:is|are) [a-z -]*?\b(his|her|their|its)\b", sample.text)
        if possessive and re.match(r"An? ", sample.text) and not PAIR.match(sample.text):
            noun = re.search(rf"\b({'|'.join(owner)})\b", sample.text)
            assert noun and possessive[1] == owner[noun[1]], sample.text
        elif possessive and (sample.text.split()[0] in PLURAL or PAIR.match(sample.text)):
            assert possessive[1] == "their", sample.text
        else:
            continue
        seen[possessive[1]] += 1
    assert min(seen[word] for word in ("his", "her", "its", "their")) > 50


def test_verbs_agree_with_the_number_of_the_subject():
    number = {"A": "is", "An": "is"} | dict.fromkeys(PLURAL, "are")
    seen = Counter()
    for sample in drawn("translation"):
        verb = re.search(r" (is|are) \w+ing\b", sample.text)
        first = sample.text.split()[0]
        if verb and first in number and not PAIR.match(sample.text):
            assert verb[1] == number[first], sample.text
            seen[verb[1]] += 1
    assert min(seen["is"], seen["are"]) > 1000


def test_about_half_of_the_reviews_carry_a_label_and_both_labels_as_often():
    labels = Counter(sample.label for sample in drawn("sentiment"))
    assert set(labels) == {"POSITIVE", "NEGATIVE", None}
    assert 0.45 < 1 - labels[None] / DRAWS < 0.55
    assert abs(labels["POSITIVE"] - labels["NEGATIVE"]) < DRAWS / 1000
    assert {sample.label for sample in drawn("translation")} == {None}


def test_no_labelled_review_holds_a_word_of_the_other_side():
    words = defaultdict(set)
    for sample in drawn("sentiment"):
        words[sample.label].update(re.findall(r"[a-z]+", sample.text.lower()))
    assert words["POSITIVE"].isdisjoint(
        {"awful", "boring", "hated", "terrible", "worst", "rude", "not", "never"}
    )
    assert words["NEGATIVE"].isdisjoint({"wonderful", "brilliant", "loved", "excellent", "best", "delicious"})


@settings(max_examples=20)
@given(distinct=st.integers(1, 3000), exponent=st.floats(0, 3))
def test_zipf_repeats_no_more_than_the_distinct_texts(distinct, exponent):
    known = set(texts(inputs.unique("sentiment", 4), distinct))
    assert known.issuperset(texts(inputs.zipf("sentiment", 4, distinct, exponent, new_share=0), 200))


@settings(max_examples=20)
@given(
    distinct=st.integers(1, 300), share=st.sampled_from([0.05, 0.5, 1.0]), task=st.sampled_from(inputs.TASKS)
)
def test_zipf_has_the_share_of_new_texts_from_its_first_to_its_last_text(distinct, share, task):
    draws = 4000
    known = {sample.text for sample in inputs.repeated_texts(task, 4, distinct)}
    drawn = texts(inputs.zipf(task, 4, distinct, new_share=share), draws)
    new = [text for text in drawn if text not in known]
    assert len(set(new)) == len(new), "a new text comes once"
    for half in (drawn[: draws // 2], drawn[draws // 2 :]):
        new_share = sum(text not in known for text in half) / len(half)
        assert abs(new_share - share) <= 5 * math.sqrt(share * (1 - share) / len(half))


@pytest.mark.parametrize("exponent", [0.8, 1.1])
def test_zipf_frequencies_follow_the_law(exponent):
    distinct, draws = 1000, DRAWS
    ranked = texts(inputs.unique("translation", 3), distinct)
    counts = Counter(texts(inputs.zipf("translation", 3, distinct, exponent, new_share=0), draws))
    weights = [rank**-exponent for rank in range(1, distinct + 1)]
    expected = [draws * weight / sum(weights) for weight in weights]
    chi_square = sum((counts[text] - mean) ** 2 / mean for text, mean in zip(ranked, expected, strict=True))
    dof = distinct - 1
    assert abs(chi_square - dof) < 4 * math.sqrt(2 * dof)
    for text, mean in zip(ranked[:10], expected, strict=False):
        assert abs(counts[text] - mean) < 4 * math.sqrt(mean * (1 - mean / draws))


@pytest.mark.parametrize(
    ("open_stream", "message"),
    [
        (
            lambda: inputs.stream("poetry", "unique"),
            "task must be one of translation, sentiment, not 'poetry'",
        ),
        (
            lambda: inputs.stream("sentiment", "burst"),
            "workload must be one of unique, zipf, paragraph, not 'burst'",
        ),
        (
            lambda: inputs.unique("sentiment", part="final"),
            "part must be one of warmup, measured, not 'final'",
        ),
        (lambda: inputs.zipf("poetry"), "task must be one of translation, sentiment"),
        (lambda: inputs.zipf("sentiment", distinct=0), "distinct must be at least 1, not 0"),
    ],
)
def test_an_unknown_name_is_refused_at_once_with_the_known_ones(open_stream, message):
    with pytest.raises(ValueError, match=message):
        open_stream()


def test_stream_passes_its_options_on():
    assert texts(inputs.stream("sentiment", "unique", 3, part="warmup"), 50) == texts(
        inputs.unique("sentiment", 3, part="warmup"), 50
    )
    assert len(set(texts(inputs.stream("sentiment", "zipf", 3, distinct=2, new_share=0), 200))) == 2


class WordModel:
    """A model that knows every word."""

    source_language, max_input_tokens, unknown_id = "en", 512, -1

    def tokenize(self, text):
        return [*range(len(text.split()))]


@given(st.integers(0, 1000), st.integers(2, 30))
def test_texts_joined_into_a_long_one_stay_one_sentence(seed, count):
    joined = texts(inputs.unique("translation", seed), count)
    long = inputs.one_sentence(joined)
    split = SentenceSplitter(WordModel()).split(long)
    assert split.sentences == [long]
    assert len(long.split()) == sum(len(text.split()) for text in joined)
