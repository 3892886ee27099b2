"""Any text at all: a server answers what its model answers in process, or refuses the text as that does."""

import importlib
import json
from functools import cache
from typing import Any

import httpx
from conftest import EMBEDDED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.measure.processes import Server

EXAMPLES = 60
# One text after the other, in eager float32.
SLOW_EXAMPLES = 6
# The score of a text that other texts are computed with differs in its last bits.
SCORE_TOLERANCE = 1e-3

WORDS = st.sampled_from(["a dog", "is", "running", "through", "the snow", "great", "dull", "ein Hund"])
ODD = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.characters(min_codepoint=0x10000),
    st.sampled_from("\0\x01\x7f\x85\xa0\u200b\u200d\u2028\u202e\u2066\ufeff\ufffd\ufffe\U0010ffff"),
    st.characters(categories=["Mn", "Me", "Cf", "Co", "Cn"]),
    st.characters(min_codepoint=0x590, max_codepoint=0x8FF),
)
TEXTS = st.one_of(
    st.text(ODD, max_size=40),
    st.lists(st.one_of(WORDS, st.text(ODD, max_size=5)), max_size=12).map(" ".join),
    st.builds(
        lambda base, marks: base + marks * 30, WORDS, st.text(st.characters(categories=["Mn"]), max_size=3)
    ),
    st.builds(
        lambda part, times: part * times, st.text(ODD, min_size=1, max_size=4), st.sampled_from([2, 20, 600])
    ),
    st.builds(lambda times: "antidisestablishment" * times, st.sampled_from([1, 3, 100])),
)


@cache
def models(name: str) -> Any:
    """The models of the server `name`, in this process."""
    runtime = "pytorch" if name == "baseline" else "onnx"
    find = importlib.import_module(f"{name}.web.model_files").find_model_files
    files = [find(EMBEDDED, f"{task}/{runtime}") for task in ("translation", "sentiment")]
    return importlib.import_module(f"{name}.models").Models(
        *files, importlib.import_module(f"{name}.config").Settings()
    )


def in_process(name: str, task: str, text: str) -> tuple[int, Any]:
    """The status and the answer, or the detail, that `text` should get."""
    schemas, errors = (importlib.import_module(f"{name}.web.{part}") for part in ("schemas", "errors"))
    if not 1 <= len(text) <= 5_000:
        return 422, None
    try:
        schemas.readable(text)
        answer = translation_of(name, text) if task == "translate" else sentiment_of(name, text)
    except schemas.PydanticCustomError as error:
        return 422, [{"loc": ["body", "text"], "msg": error.message(), "type": "invalid_input"}]
    except errors.InvalidInput as error:
        return 422, error.detail
    return 200, answer


def translation_of(name: str, text: str) -> str:
    model = models(name).translator
    split = importlib.import_module(f"{name}.web.sentences").SentenceSplitter(model).split(text)
    context = importlib.import_module(f"{name}.web.request_context")
    request = context.RequestContext()
    if split.unreadable:
        request.refuse_texts({0: context.UNREADABLE})
    batch = [model.tokenize(sentence) for sentence in split.sentences]
    request.asked = [(0, sentence) for sentence in split.sentences]
    request.check_tokens(zip(split.sentences, batch, strict=True), model.max_input_tokens, model.meaningless)
    if name == "baseline":
        answers = [model.translate(token_ids, num_beams=1, timeout_s=60.0) for token_ids in batch]
    else:
        answers = [model.translate([token_ids])[0] for token_ids in batch]
    return split.join([answer.text for answer in answers])


def sentiment_of(name: str, text: str) -> Any:
    model = models(name).classifier
    token_ids = model.tokenize(text)
    request = importlib.import_module(f"{name}.web.request_context").RequestContext()
    request.asked = [(0, text)]
    request.check_tokens([(text, token_ids)], model.max_input_tokens, model.meaningless)
    return model.classify(token_ids) if name == "baseline" else model.classify([token_ids])[0]


def check(client: httpx.Client, name: str, task: str, text: str, content: bytes) -> None:
    answer = client.post(f"/{task}", content=content, headers={"content-type": "application/json"})
    status, expected = in_process(name, task, text)
    assert answer.status_code == status, (text, answer.text)
    found = answer.json()
    if status == 422:
        assert expected is None or found["detail"] == expected
    elif task == "translate":
        assert found == {"translation": expected}
    else:
        assert found["label"] == expected.label and abs(found["score"] - expected.score) < SCORE_TOLERANCE


def test_any_text_gets_the_answer_of_the_model(server: Server, client: httpx.Client) -> None:
    @settings(
        max_examples=SLOW_EXAMPLES if server.name == "baseline" else EXAMPLES,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(text=TEXTS, task=st.sampled_from(["translate", "sentiment"]), escaped=st.booleans())
    def holds(text: str, task: str, escaped: bool) -> None:
        check(client, server.name, task, text, json.dumps({"text": text}, ensure_ascii=escaped).encode())

    holds()


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(units=st.lists(st.integers(0xD800, 0xDFFF), min_size=1, max_size=4), before=WORDS)
def test_halves_of_pairs_are_paired_or_refused(client: httpx.Client, units: list[int], before: str) -> None:
    content = b'{"text": "%b %b"}' % (before.encode(), b"".join(b"\\u%04x" % unit for unit in units))
    try:
        json.loads(content)["text"].encode()
    except UnicodeEncodeError:
        expected = {422}
    else:
        expected = {200, 422}
    for route in ("/translate", "/sentiment"):
        answer = client.post(route, content=content, headers={"content-type": "application/json"})
        assert answer.status_code in expected, (content, answer.text)
