"""The HTTP contract, held against every server on the embedded models."""

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice

import httpx
import pytest
import torch
from conftest import EMBEDDED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import CHRF
from transformers import MarianMTModel, MarianTokenizer

from benchmark.measure.processes import Server
from locustfiles.inputs import unique

DISCONNECT_TIMEOUT_S = 20.0
# So few that a busy machine has them within the deadline, in eager float32 and with beams.
TEXTS_PER_REQUEST = 3
GERMAN = {
    "Two dogs are playing in the snow.": "Zwei Hunde spielen im Schnee.",
    "I love you.": "Ich liebe dich.",
    "A man is riding a bike.": "Ein Mann fährt auf einem Fahrrad.",
    "A woman is reading a book.": "Eine Frau liest ein Buch.",
    "Tom is my brother.": "Tom ist mein Bruder.",
    "Two children are playing in the water.": "Zwei Kinder spielen im Wasser.",
    "A dog is running through the grass.": "Ein Hund rennt durchs Gras.",
    "Where is my book?": "Wo ist mein Buch?",
    "I am very tired.": "Ich bin sehr müde.",
    "She drinks coffee every morning.": "Sie trinkt jeden Morgen Kaffee.",
    "A girl in a red dress is dancing.": "Ein Mädchen in einem roten Kleid tanzt.",
    "The boy is sleeping.": "Der Junge schläft.",
}
POLARITY = {
    "a gorgeous, witty film": "POSITIVE",
    "a dull and pointless mess": "NEGATIVE",
    "one of the best films of the year": "POSITIVE",
    "a complete waste of time": "NEGATIVE",
}
TIMING = re.compile(r"(tokenize|queue|inference);dur=\d+\.\d+")
ROUTES = {
    "/translate": "text",
    "/sentiment": "text",
    "/translate/batch": "texts",
    "/sentiment/batch": "texts",
}


@pytest.mark.parametrize(("english", "german"), GERMAN.items())
def test_translations_are_right(client: httpx.Client, english: str, german: str) -> None:
    answer = client.post("/translate", json={"text": english})
    assert (answer.status_code, answer.json()) == (200, {"translation": german})


def test_sentiment_is_right(client: httpx.Client) -> None:
    for text, label in POLARITY.items():
        answer = client.post("/sentiment", json={"text": text}).json()
        assert answer["label"] == label and 0.5 < answer["score"] <= 1, text


def test_batches_answer_in_order_and_like_single_requests(client: httpx.Client) -> None:
    translations = client.post("/translate/batch", json={"texts": list(GERMAN)}).json()["translations"]
    assert translations == list(GERMAN.values())
    results = client.post("/sentiment/batch", json={"texts": list(POLARITY)}).json()["results"]
    assert [result["label"] for result in results] == list(POLARITY.values())
    for text, result in zip(POLARITY, results, strict=True):
        single = client.post("/sentiment", json={"text": text}).json()
        assert result["score"] == pytest.approx(single["score"], abs=1e-3)


@cache
def texts_for_beams() -> list[str]:
    return [sample.text for sample in islice(unique("translation", 21), 12)]


@cache
def hugging_face(num_beams: int) -> list[str]:
    """What `generate` makes of `texts_for_beams` in float32."""
    folder = EMBEDDED / "translation" / "pytorch"
    limits = json.loads((EMBEDDED / "manifest.json").read_text())["artefacts"]["translation/onnx"][
        "generation"
    ]
    model, tokenizer = MarianMTModel.from_pretrained(folder).eval(), MarianTokenizer.from_pretrained(folder)
    answers = []
    for text in texts_for_beams():
        ids = tokenizer(text, return_tensors="pt").input_ids
        tokens = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=num_beams,
            do_sample=False,
            early_stopping=False,
            length_penalty=1.0,
            forced_eos_token_id=None,
            suppress_tokens=[model.config.pad_token_id],
            max_new_tokens=limits["tokens_per_source_token"] * ids.shape[1] + limits["extra_tokens"],
        )
        answers.append(tokenizer.decode(tokens[0], skip_special_tokens=True))
    return answers


@pytest.mark.parametrize("num_beams", [1, 4])
def test_beams_find_what_hugging_face_finds(server: Server, client: httpx.Client, num_beams: int) -> None:
    texts, expected = texts_for_beams(), hugging_face(num_beams)
    found: list[str] = []
    for start in range(0, len(texts), TEXTS_PER_REQUEST):
        body = {"texts": texts[start : start + TEXTS_PER_REQUEST], "num_beams": num_beams}
        found += client.post("/translate/batch", json=body).json()["translations"]
    if server.name == "baseline":
        assert found == expected
    else:
        same = sum(mine == theirs for mine, theirs in zip(found, expected, strict=True))
        assert same > 0.8 * len(expected)
        assert CHRF().corpus_score(found, [expected]).score >= 95


def test_a_beam_answer_is_never_given_for_a_greedy_one(client: httpx.Client) -> None:
    greedy, beams = hugging_face(1), hugging_face(4)
    different = [
        text for text, one, four in zip(texts_for_beams(), greedy, beams, strict=True) if one != four
    ]
    assert len(different) >= 2
    asked = [
        {"text": text, **more} for text in different for more in ({"num_beams": 4}, {}, {"num_beams": 1})
    ]
    first, again = ([client.post("/translate", json=body).json() for body in asked] for _ in range(2))
    assert first == again
    assert first[1::3] == first[2::3]
    assert sum(four != one for four, one in zip(first[::3], first[1::3], strict=True)) > len(different) / 2
    batch = client.post("/translate/batch", json={"texts": different, "num_beams": 4}).json()
    assert batch["translations"] == [answer["translation"] for answer in first[::3]]


@pytest.mark.parametrize("route", ["/translate", "/translate/batch"])
@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "equal to 1"), (7, "equal to 6"), (-1, "1"), ("4", "integer"), (1.5, "integer"), (None, "integer")],
)
def test_a_bad_number_of_beams_is_refused_with_its_limit(
    client: httpx.Client, route: str, value: object, message: str
) -> None:
    texts = {"text": "I love you."} if ROUTES[route] == "text" else {"texts": ["I love you."]}
    answer = client.post(route, json={**texts, "num_beams": value})
    assert answer.status_code == 422, answer.text
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "num_beams"] and message in problem["msg"]


def test_sentiment_takes_no_beams(client: httpx.Client) -> None:
    for route, texts in (("/sentiment", {"text": "a"}), ("/sentiment/batch", {"texts": ["a"]})):
        answer = client.post(route, json={**texts, "num_beams": 1})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "num_beams"]


def test_concurrent_answers_go_to_their_own_requests(client: httpx.Client) -> None:
    texts = list(GERMAN) * 4
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: client.post("/translate", json={"text": text}).json(), texts))
    assert [answer["translation"] for answer in answers] == [GERMAN[text] for text in texts]


@pytest.mark.parametrize("route", ROUTES)
def test_server_timing_names_the_phases(client: httpx.Client, route: str) -> None:
    body = {"text": "I love you."} if ROUTES[route] == "text" else {"texts": ["I love you."]}
    header = client.post(route, json=body).headers["server-timing"]
    parts = [part.strip() for part in header.split(",")]
    assert all(TIMING.fullmatch(part) for part in parts), header
    assert [part.partition(";")[0] for part in parts] == ["tokenize", "queue", "inference"]


BAD_TEXTS: dict[str, tuple[object, str]] = {
    "empty": ("", "1 character"),
    "blank": (" \t\n", "white space"),
    "a million characters": ("a" * 1_000_000, "5000"),
    "ten thousand tokens": ("to be " * 5_000, "5000"),
    "unknown characters": ("\u13a0\u13a1\u13a2", "can read"),
    "number": (7, "string"),
    "null": (None, "string"),
    "list": (["a"], "string"),
    "NUL byte": ("a\0b", "NUL"),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_text_is_refused_with_its_place_and_limit(client: httpx.Client, route: str, case: str) -> None:
    text, limit = BAD_TEXTS[case]
    single = ROUTES[route] == "text"
    answer = client.post(route, json={"text": text} if single else {"texts": ["I love you.", text]})
    assert answer.status_code == 422, answer.text[:300]
    problem = answer.json()["detail"][0]
    assert problem["loc"] == (["body", "text"] if single else ["body", "texts", 1])
    assert limit in problem["msg"]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("content", "place", "message"),
    [
        (b"{}", ["body", "FIELD"], "required"),
        (b'{"text', ["body"], "Invalid JSON"),
        (b"", ["body"], "Invalid JSON"),
        (b"[]", ["body"], "object"),
        (b"[" * 100_000, ["body"], "Invalid JSON"),
        (b'{"FIELD": "\\ud800"}', ["body"], "Invalid JSON"),
        (b'{"FIELD": "\xff"}', ["body"], "Invalid JSON"),
        (b'{"FIELD": ' + b"9" * 10_000 + b"}", ["body"], "Invalid JSON"),
        (b'{"txt": "a"}', ["body", "FIELD"], "required"),
    ],
)
def test_bad_body_is_refused_with_its_place(
    client: httpx.Client, route: str, content: bytes, place: list[str], message: str
) -> None:
    field = ROUTES[route]
    content = content.replace(b"FIELD", field.encode())
    answer = client.post(route, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text[:300]
    problems = answer.json()["detail"]
    expected = [field if part == "FIELD" else part for part in place]
    assert any(problem["loc"] == expected and message in problem["msg"] for problem in problems), problems


def test_wrong_content_type_is_refused(client: httpx.Client) -> None:
    answer = client.post("/translate", content=b'{"text": "a"}', headers={"content-type": "text/plain"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "content-type"]


def test_a_body_over_the_limit_is_refused_before_it_is_parsed(client: httpx.Client) -> None:
    answer = client.post("/translate", json={"text": "a" * (3 << 20)})
    assert answer.status_code == 413
    assert str(2 << 20) in answer.json()["detail"]


def test_batch_size_limits(client: httpx.Client) -> None:
    for count, status in ((0, 422), (1, 200), (64, 200), (65, 422)):
        answer = client.post("/sentiment/batch", json={"texts": ["a good film"] * count})
        assert answer.status_code == status, count
        if status == 200:
            assert len(answer.json()["results"]) == count
        else:
            assert answer.json()["detail"][0]["loc"] == ["body", "texts"]


@pytest.mark.parametrize(
    "text", ["😀 👩‍👩‍👧 🇩🇪", "مرحبا بالعالم", "שלום", "你好,世界", "a\u202eb", "\x01\x02a", "ﷺ"]
)
def test_unusual_text_gets_an_answer_or_a_clear_refusal(client: httpx.Client, text: str) -> None:
    for route in ("/translate", "/sentiment"):
        answer = client.post(route, json={"text": text})
        assert answer.status_code in (200, 422), (route, answer.text)
        if answer.status_code == 422:
            assert answer.json()["detail"][0]["loc"] == ["body", "text"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_no_text_is_a_server_error(client: httpx.Client, text: str) -> None:
    assert client.post("/sentiment", json={"text": text}).status_code in (200, 422)


def test_deadline_of_the_client_is_kept(client: httpx.Client) -> None:
    answer = client.post(
        "/translate",
        json={"text": "Several men in orange vests ride on a bike, " * 8},
        headers={"X-Timeout-Ms": "1"},
    )
    assert answer.status_code in (503, 504)
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "soon", "9" * 30, "000000000001" + "9" * 5_000, "٣", ""])
def test_bad_deadline_is_refused(client: httpx.Client, value: str) -> None:
    answer = client.post("/translate", json={"text": "I love you."}, headers={"X-Timeout-Ms": value.encode()})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["header", "x-timeout-ms"]


def test_service_routes(client: httpx.Client) -> None:
    assert client.get("/health").status_code == 200
    assert client.get("/ready").status_code == 200
    root = client.get("/")
    assert root.is_redirect and root.headers["location"] == "/docs"
    missing = client.get("/nowhere")
    assert missing.status_code == 404 and "detail" in missing.json()
    wrong_method = client.get("/translate")
    assert wrong_method.status_code == 405 and "detail" in wrong_method.json()


def test_metrics_count_answers(client: httpx.Client) -> None:
    def answered() -> float:
        page = client.get("/metrics").text
        found = re.search(r'gap_requests_total\{route="/sentiment",status="200"\} (\S+)', page)
        return float(found[1]) if found else 0.0

    before = answered()
    client.post("/sentiment", json={"text": "a good film"})
    assert answered() == before + 1


def test_openapi_states_bodies_limits_and_errors(client: httpx.Client) -> None:
    page = client.get("/openapi.json").json()
    for route, field in ROUTES.items():
        operation = page["paths"][route]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        # /translate has a body of LibreTranslate's too.
        fields = schema.get("anyOf", [schema])[0]["properties"]
        text = fields[field] if field == "text" else fields[field]["items"]
        beams = fields.pop("num_beams", {})
        limits = [beams.get(name) for name in ("minimum", "maximum", "default")]
        assert limits == ([1, 6, 1] if route.startswith("/translate") else [None] * 3)
        assert (text["minLength"], text["maxLength"]) == (1, 5000)
        assert {"200", "413", "422", "503", "504"} <= set(operation["responses"])
        assert len(json.dumps(operation)) < 10_000


def test_a_client_that_disconnects_within_its_body_leaves_no_traceback(
    server: Server, client: httpx.Client
) -> None:
    address = client.base_url
    with socket.create_connection((address.host, address.port or 80)) as connection:
        connection.sendall(b"POST /sentiment HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    until_s = time.monotonic() + DISCONNECT_TIMEOUT_S
    while 'gap_requests_total{route="/sentiment",status="499"} 1.0' not in client.get("/metrics").text:
        assert time.monotonic() < until_s, "the server never noticed"
        time.sleep(0.01)
    assert "Traceback" not in server.log_path.read_text()
