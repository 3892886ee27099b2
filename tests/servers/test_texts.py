"""Real texts, held against every server on the embedded models: paragraphs, lists, emoji, loops."""

import re

import httpx
import pytest
from conftest import EMBEDDED

from optimized.runtime.tokenization import MarianTokenizer

PARAGRAPH = (
    "Two dogs are playing in the snow. A man is reading a book. Three girls are dancing on a stage. "
    "I love you. The boy is sleeping. Where is my book? I am very tired. Tom is my brother."
)
LIST = """- The boy is sleeping.
- I am very tired.
- I love you.

1. Tom is my brother.
2. Where is my book?
"""
# The embedded model repeats itself until it must stop.
LOOPS = "aaaa aaaa aaaa aaaa aaaa"


def translate(client: httpx.Client, text: str, **more: int) -> str:
    answer = client.post("/translate", json={"text": text, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["translation"]


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_paragraph_comes_back_sentence_by_sentence(client: httpx.Client, num_beams: int) -> None:
    alone = [translate(client, one, num_beams=num_beams) for one in re.split(r"(?<=[.?]) ", PARAGRAPH)]
    assert len(alone) == 8 and all(one[-1] in ".?" for one in alone)
    assert translate(client, PARAGRAPH, num_beams=num_beams) == " ".join(alone)
    parts = PARAGRAPH[: PARAGRAPH.index("I love")], "I love you. Tom is my brother."
    answer = client.post("/translate/batch", json={"texts": parts, "num_beams": num_beams}).json()
    assert answer == {"translations": [" ".join(alone[:3]) + " ", f"{alone[3]} {alone[7]}"]}


def test_a_list_of_five_lines_comes_back_as_five(client: httpx.Client) -> None:
    answer = translate(client, LIST)
    lines = [line for line in answer.split("\n") if line]
    assert [line[:2] for line in lines] == ["- ", "- ", "- ", "1.", "2."] and answer.count("\n") == 6
    assert lines[2] == "- Ich liebe dich." and lines[3] == "1. Tom ist mein Bruder."


def test_a_sentence_of_more_tokens_than_the_model_takes_is_divided(client: httpx.Client) -> None:
    clause = "Two dogs are playing in the snow, "
    fit = (256 - 1) // (len(MarianTokenizer(EMBEDDED / "translation" / "onnx").encode(clause)) - 1)
    parts = [(clause * fit).strip(), clause * (fit - 5) + "and I love you."]
    answers = [translate(client, part) for part in parts]
    assert translate(client, " ".join(parts)) == " ".join(answers)


def test_an_emoji_and_a_foreign_word_are_kept(client: httpx.Client) -> None:
    answer = translate(client, "Two dogs are playing in the snow 🙂. A man is reading a book. 👍")
    assert answer == "Zwei Hunde spielen im Schnee 🙂. Ein Mann liest ein Buch. 👍"
    assert "東京" in translate(client, "The man lives in 東京.")
    assert translate(client, "👍 ... !") == "👍 ... !"


@pytest.mark.parametrize("route", ["/translate/batch", "/sentiment/batch"])
def test_every_text_that_cannot_be_read_is_named_at_once(client: httpx.Client, route: str) -> None:
    texts = ["a great film", "ᎠᎡᎢ", "a dull film. It is long.", "ᎣᎤᎥ"]
    answer = client.post(route, json={"texts": texts})
    assert answer.status_code == 422
    problems = [(one["loc"], one["msg"]) for one in answer.json()["detail"]]
    message = "Text should hold a word that the model can read"
    assert problems == [(["body", "texts", 1], message), (["body", "texts", 3], message)]


def test_each_review_with_too_many_tokens_is_named(client: httpx.Client) -> None:
    long = "x y " * 500
    answer = client.post("/sentiment/batch", json={"texts": [long, "a great film", long]})
    assert [one["loc"][-1] for one in answer.json()["detail"]] == [0, 2]
    assert "at most 256 tokens" in answer.json()["detail"][0]["msg"]


def test_an_answer_that_reaches_its_bound_says_so_also_from_a_cache(client: httpx.Client) -> None:
    def cut() -> float:
        page = client.get("/metrics").text
        return float(re.findall(r'gap_sentences_total\{finish_reason="length"\} (\S+)', page)[0])

    before = cut()
    for _ in range(2):
        answer = client.post("/translate", json={"text": f"I love you. {LOOPS}"})
        assert answer.headers["x-finish-reason"] == "length"
    assert cut() == before + 2
    answer = client.post("/translate/batch", json={"texts": ["I love you.", LOOPS]})
    assert answer.headers["x-finish-reason"] == "stop, length"
    assert "x-finish-reason" not in client.post("/translate", json={"text": "I love you."}).headers
