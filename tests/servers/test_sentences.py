"""How texts are split into sentences and put together again, with fake models and with the embedded one."""

import re
from collections import Counter
from functools import cache
from itertools import islice

import pytest
from conftest import EMBEDDED
from hypothesis import example, given
from hypothesis import strategies as st

from dynamic_batching.runtime.tokenization import MarianTokenizer
from dynamic_batching.web.sentences import SentenceModel, SentenceSplitter, SplitText
from locustfiles.inputs import PARAGRAPH_SENTENCES, paragraph, unique

MARKS = ("🙂", "👩‍👩‍👧", "❤️", "東京", "Łódź", "cafe\u0301", ">>deu<<", "ﷺ", "1️⃣", "☎")
SPACES = (" ", "  ", "\n", "\r\n", "\n\n", "\t", "\u2028", "\u3000", "\x0b", "\x85")
ENDS = (".", "!", "?", "...", ",", ";", "。", '."', ")", ":")
STARTS = ("- ", "* ", "1. ", "2) ", "(a) ", "• ", "> ", "# ", '"')
WORDS = ("dog", "A", "Mr.", "5 p.m.", "snow", "e.g.", "x", "ThisIsALongWord", "3.14")
TEXTS = st.one_of(
    st.lists(st.sampled_from(MARKS + SPACES + ENDS + STARTS + WORDS), max_size=40).map("".join),
    st.lists(st.sampled_from(MARKS + WORDS + ENDS), max_size=40).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80),
)


class LetterModel:
    """A token a character, and the end; it knows ASCII and the German letters."""

    source_language = "en"
    unknown_id = 0

    def __init__(self, max_input_tokens: int = 256) -> None:
        self.max_input_tokens = max_input_tokens

    def tokenize(self, text: str) -> list[int]:
        return [*(ord(one) if one.isascii() or one in "äöüßÄÖÜ" else 0 for one in text), 1]


class EmbeddedModel:
    source_language = "en"
    max_input_tokens = 40

    def __init__(self) -> None:
        tokenizer = MarianTokenizer(EMBEDDED / "translation" / "onnx")
        self.unknown_id, self.tokenize = tokenizer.unknown_id, tokenizer.encode


@cache
def embedded() -> EmbeddedModel:
    return EmbeddedModel()


def split(text: str, model: SentenceModel | None = None) -> SplitText:
    return SentenceSplitter(model or LetterModel()).split(text)


def sentences(text: str) -> list[str]:
    return split(text).sentences


@given(text=TEXTS, which=st.sampled_from(["letters", "few letters", "embedded"]))
@example(text="x" * 500, which="few letters")
@example(text="a, b; " * 200 + "x y " * 200, which="embedded")
@example(text="🙂🙂a 🙂 b🙂. c 🙂", which="letters")
def test_what_is_split_is_put_together_again(text: str, which: str) -> None:
    model = {"letters": LetterModel(), "few letters": LetterModel(12), "embedded": embedded()}[which]
    found = split(text, model)
    assert len(found.kept) == len(found.sentences) + 1 == len(found.carried) + 1
    assert found.unreadable == (not found.sentences and any(map(str.isalnum, text)))
    together = found.join(found.sentences)
    # What is carried over comes to a place in proportion: nothing is lost, white space may move.
    assert sorted("".join(together.split())) == sorted("".join(text.split()))
    if not any(found.carried):
        assert together == text
    for sentence in found.sentences:
        assert sentence.strip() == sentence and any(map(str.isalnum, sentence))
        assert len(re.findall(r"[\n\r\x0b\x0c\x85\u2028\u2029]", sentence)) == 0


@given(text=TEXTS)
def test_each_sentence_fits_the_model(text: str) -> None:
    model = LetterModel(12)
    for sentence in split(text, model).sentences:
        assert len(model.tokenize(sentence)) <= 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two dogs play. A man reads. I go.", ["Two dogs play.", "A man reads.", "I go."]),
        ("Mr. Smith came at 5 p.m. in the park.", ["Mr. Smith came at 5 p.m. in the park."]),
        ("- Buy milk.\n- Eat. Sleep.\n", ["Buy milk.", "Eat.", "Sleep."]),
        ("1. One\r\n2) Two\r\n(c) Three\r\n* Four\r\n\r\n# Five", ["One", "Two", "Three", "Four", "Five"]),
        ("A line\u2028and another\n\n---\n\nThe end", ["A line", "and another", "The end"]),
        ("  Hello there.\t", ["Hello there."]),
        ("... !? —", []),
        ("🙂", []),
    ],
)  # fmt: skip
def test_texts_are_split_at_sentences_and_lines(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
    assert split(text).join(expected) == text


@pytest.mark.parametrize(
    ("text", "read", "translated", "answer"),
    [
        ("The dog is happy 🙂.", "The dog is happy.", "Der Hund ist froh.", "Der Hund ist froh 🙂."),
        ("The dog is happy🙂.", "The dog is happy.", "Der Hund ist froh.", "Der Hund ist froh🙂."),
        ("The dog 👩‍👩‍👧 is happy ❤️", "The dog is happy", "Der Hund ist froh", "Der Hund 👩‍👩‍👧 ist froh ❤️"),
        ("🙂 Hello, you.", "Hello, you.", "Hallo.", "🙂 Hallo."),
        ("He lives in 東京.", "He lives in.", "Er lebt in.", "Er lebt in 東京."),
        ("Mr. Łukasz came, too.", "Mr. came, too.", "Herr kam auch.", "Herr Łukasz kam auch."),
        ("a 🙂 🙂 b ☎", "a b", "c d", "c 🙂 🙂 d ☎"),
        ("a 🙂 b ☎!", "a b!", "", "🙂 ☎"),
    ],
)
def test_what_the_model_cannot_read_is_carried_over(
    text: str, read: str, translated: str, answer: str
) -> None:
    found = split(text)
    assert found.sentences == [read]
    assert found.join([translated]) == answer


def test_a_text_of_unknown_words_is_unreadable_and_a_paragraph_with_one_is_not() -> None:
    assert split("東京に住む。").unreadable and not split("☎ 🙂").unreadable
    mixed = split("東京に住む。 He came.")
    assert (mixed.sentences, mixed.kept, mixed.unreadable) == (["He came."], ["東京に住む。 ", ""], False)


def test_a_long_sentence_is_cut_after_its_last_clause_or_word_that_fits() -> None:
    model = LetterModel(16)
    assert split("one two, three four five six", model).sentences == ["one two,", "three four", "five six"]
    assert split("a" * 40, model).sentences == ["a" * 15, "a" * 15, "a" * 10]


def test_a_language_code_begins_each_sentence_if_the_model_has_it() -> None:
    class Multilingual(LetterModel):
        def tokenize(self, text: str) -> list[int]:
            code = text.startswith(">>deu<<")
            return [7] * code + super().tokenize(text[7:].lstrip() if code else text)

    found = split(">>deu<< One. Two.", Multilingual())
    assert (
        found.sentences == [">>deu<< One.", ">>deu<< Two."]
        and found.join(["Eins.", "Zwei."]) == "Eins. Zwei."
    )
    assert split(">>xyz<< One. Two.", Multilingual()).sentences == [">>xyz<< One.", "Two."]


def test_the_load_has_paragraphs_of_unique_sentences() -> None:
    """The sentences are those of the unique stream, and as many in each paragraph as its limits say."""
    found = [split(sample.text, embedded()).sentences for sample in islice(paragraph("translation", 5), 400)]
    flat = [sentence for sentences_of in found for sentence in sentences_of]
    assert flat == [sample.text for sample in islice(unique("translation", 5), len(flat))]
    assert {*Counter(map(len, found))} == {*range(PARAGRAPH_SENTENCES[0], PARAGRAPH_SENTENCES[1] + 1)}
