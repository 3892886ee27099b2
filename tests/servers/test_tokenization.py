"""Every server reads a text as the same token ids, and spells the same text from any of them."""

import json
import shutil
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import transformers
from conftest import EMBEDDED
from hypothesis import example, given, settings
from hypothesis import strategies as st
from seeded_models import REAL_NAMES, real_vocabulary

from baseline.models import MarianTokenizer, SentimentClassifier, Translator

EXAMPLES = 200
ONNX_SERVERS = ("optimized", "dynamic_batching")
CODES = (">>deu<<", ">>sv_SE<<")
BERT_MARKS = ("[SEP]", "[MASK]", "[CLS]", "[UNK]", "[PAD]", "[sep]", "##s", "[unused1]")
MARIAN_MARKS = (*CODES, ">>", "<<", ">>xyz<<", ">><<", "<unk>", "</s>", "<pad>", "<s>", "▁", "<0x0A>")
WORDS = ("great", "awful", "Two dogs are playing in the snow.", "A man", "ein Hund", "IN THE PARK")
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# What SentencePiece or BERT normalizes, or takes for white space, or drops.
NORMALIZED = st.one_of(
    st.characters(min_codepoint=0xFF00, max_codepoint=0xFFEF),
    st.characters(min_codepoint=0x2000, max_codepoint=0x218F),
    st.characters(min_codepoint=0x0300, max_codepoint=0x036F),
    st.characters(categories=["Mn", "Cf", "Cc", "Zs", "Zl", "Zp", "Nl", "No", "So"], exclude_characters="\0"),
)
PARTS = st.one_of(
    st.sampled_from([*MARIAN_MARKS, *BERT_MARKS]),
    st.sampled_from([*WORDS, " ", "  ", "\n", "\t"]),
    st.text(st.one_of(ANY, NORMALIZED), max_size=6),
)
TEXTS = st.lists(PARTS, min_size=1, max_size=8).map("".join)
ANY_TEXT = settings(max_examples=EXAMPLES, derandomize=True)


@pytest.fixture(scope="module", params=["embedded", *REAL_NAMES])
def vocabulary(request: pytest.FixtureRequest) -> Path:
    """The tokenizer files of a translation model."""
    if request.param == "embedded":
        return EMBEDDED / "translation" / "pytorch"
    return real_vocabulary(request.param)


@pytest.fixture(scope="module")
def multilingual(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with language codes among its pieces."""
    folder = tmp_path_factory.mktemp("multilingual")
    for path in (*vocabulary.glob("*.spm"), *vocabulary.glob("*.json")):
        shutil.copyfile(path, folder / path.name)
    ids = json.loads((folder / "vocab.json").read_text())
    pieces = {index: piece for piece, index in ids.items()}
    for index, code in enumerate(CODES, start=len(pieces) - 3):
        pieces[index] = code
    (folder / "vocab.json").write_text(json.dumps({piece: index for index, piece in pieces.items()}))
    return folder


def marian_of_baseline(folder: Path) -> Any:
    """The tokenizer of the baseline, and how it tokenizes with it."""
    tokenizer = MarianTokenizer.from_pretrained(folder)
    return tokenizer, partial(Translator.tokenize, SimpleNamespace(tokenizer=tokenizer))


def of_onnx_server(server: str, kind: str, folder: Path) -> Any:
    return getattr(import_module(f"{server}.runtime.tokenization"), kind)(folder)


@pytest.mark.parametrize("with_codes", [False, True])
def test_a_text_to_translate_is_the_same_tokens_in_every_server(
    vocabulary: Path, multilingual: Path, with_codes: bool
) -> None:
    folder = multilingual if with_codes else vocabulary
    _, tokenize = marian_of_baseline(folder)
    others = [of_onnx_server(server, "MarianTokenizer", folder) for server in ONNX_SERVERS]

    @ANY_TEXT
    @given(TEXTS)
    @example(">>Two dogs are playing in the snow.<< A man is reading.")
    @example("</s> <unk> <pad> \u2581")
    @example("\ufb01 \u2167 \uff41\u3000\u00ad\u200b\u0301e")
    def holds(text: str) -> None:
        expected = tokenize(text)
        assert [other.encode(text) for other in others] == [expected, expected]

    holds()


def test_a_text_to_classify_is_the_same_tokens_in_every_server() -> None:
    folder = EMBEDDED / "sentiment" / "pytorch"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenize = partial(SentimentClassifier.tokenize, SimpleNamespace(tokenizer=tokenizer))
    others = [of_onnx_server(server, "BertTokenizer", folder) for server in ONNX_SERVERS]

    @ANY_TEXT
    @given(TEXTS)
    @example("great [SEP] awful [MASK] [CLS]")
    def holds(text: str) -> None:
        expected = tokenize(text)
        assert [other.encode(text) for other in others] == [expected, expected]

    holds()
    assert all(other.meaningless == {*tokenizer.all_special_ids} for other in others)


def test_control_tokens_in_a_text_are_words(vocabulary: Path) -> None:
    for server in ONNX_SERVERS:
        bert = of_onnx_server(server, "BertTokenizer", EMBEDDED / "sentiment" / "pytorch")
        first, *inner, last = bert.encode("great [SEP] awful [MASK]")
        assert not {first, last} & {*inner}
        marian = of_onnx_server(server, "MarianTokenizer", vocabulary)
        *inner, end = marian.encode("a dog </s> is running <pad>")
        assert end not in inner and marian.encode("</s>")[0] != end


def test_servers_read_control_tokens_as_words(client: httpx.Client) -> None:
    answers = [client.post("/sentiment", json={"text": text}) for text in ("[MASK]", "great [SEP] awful")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json()["label"] == "NEGATIVE"
    assert client.post("/translate", json={"text": ">><<"}).json() == {"translation": ">><<"}


def test_a_language_code_is_its_one_token_and_all_else_is_text(vocabulary: Path, multilingual: Path) -> None:
    ids = json.loads((multilingual / "vocab.json").read_text())
    _, tokenize = marian_of_baseline(multilingual)
    _, tokenize_without = marian_of_baseline(vocabulary)
    encoders = [of_onnx_server(server, "MarianTokenizer", multilingual).encode for server in ONNX_SERVERS]
    for encode in (tokenize, *encoders):
        for code in CODES:
            assert encode(f"{code} A man is reading.") == [ids[code], *encode("A man is reading.")]
            assert ids[code] not in encode(f"A man {code} is reading.")
    for server in ONNX_SERVERS:
        # Alone it says nothing that could be translated.
        assert of_onnx_server(server, "MarianTokenizer", multilingual).meaningless >= {
            ids[code] for code in CODES
        }
    text = ">>Two dogs are playing in the snow.<< A man is reading."
    encoders = [of_onnx_server(server, "MarianTokenizer", vocabulary).encode for server in ONNX_SERVERS]
    for encode in (tokenize, tokenize_without, *encoders):
        tokens = encode(text)
        # The marks themselves may be unknown, what stands between them is not.
        assert len(tokens) >= len(encode("Two dogs are playing in the snow. A man is reading."))


@pytest.mark.parametrize("with_codes", [False, True])
def test_any_tokens_spell_the_same_text_in_every_server(
    vocabulary: Path, multilingual: Path, with_codes: bool
) -> None:
    folder = multilingual if with_codes else vocabulary
    tokenizer, _ = marian_of_baseline(folder)
    others = [of_onnx_server(server, "MarianTokenizer", folder) for server in ONNX_SERVERS]
    size = len(tokenizer.encoder)
    unusual = [*tokenizer.all_special_ids, *range(size - 5, size + 2)]
    for piece in ("\u2581", "<s>", ">>", ".", "\u2581.", *CODES):
        unusual.append(tokenizer.encoder.get(piece, 0))

    @ANY_TEXT
    @given(st.lists(st.one_of(st.integers(0, size - 1), st.sampled_from(unusual)), max_size=30))
    def holds(token_ids: list[int]) -> None:
        expected = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert [other.decode(token_ids) for other in others] == [expected, expected]

    holds()
