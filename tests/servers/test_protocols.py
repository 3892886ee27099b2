"""The routes of other protocols, held against every server on the embedded models, byte by byte."""

import json
import re
from typing import Any

import httpx
import pytest

from optimized.web.protocols.binary_tensors import encode_bytes

TEXTS = {"I love you.": "Ich liebe dich.", "Where is my book?": "Wo ist mein Buch?"}
ENGLISH, GERMAN = [*TEXTS], [*TEXTS.values()]
ASKED = {"q": "I love you.", "source": "en", "target": "de"}
UNREADABLE = "\u13a0\u13a1\u13a2"
INFER = "/v2/models/{}/infer"


def tensor(*data: object, shape: list[int] | None = None, **more: object) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": shape or [len(data)], "data": [*data], **more}


def infer(client: httpx.Client, task: str, *data: object, **more: Any) -> httpx.Response:
    return client.post(INFER.format(task), json={"inputs": [tensor(*data)], **more})


def binary(texts: list[str], shape: list[int] | None = None, **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the header of an inference request with a binary tensor."""
    data = encode_bytes([text.encode() for text in texts])
    one = {"name": "text", "datatype": "BYTES", "shape": shape or [len(texts)]}
    one["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [one], **more}).encode()
    return head + data, {"Inference-Header-Content-Length": str(len(head))}


# One valid body for each route that asks the engine.
VALID: dict[str, dict[str, Any]] = {
    "/translate": ASKED,
    "/predict": {"inputs": "a great film"},
    INFER.format("translation"): {"inputs": [tensor("I love you.")]},
    INFER.format("sentiment"): {"inputs": [tensor("a great film")]},
}
# How each protocol says that an input is bad.
BAD_INPUT = {route: 413 if route == "/predict" else 400 for route in VALID}


def with_text(route: str, text: object) -> dict[str, Any]:
    """A valid body whose second text is `text`."""
    if route == "/translate":
        return {**ASKED, "q": ["I love you.", text]}
    if route == "/predict":
        return {"inputs": [["a great film"], [text]]}
    return {"inputs": [tensor("a great film", text)]}


PLACES = dict.fromkeys(VALID, "inputs.0.data.1") | {"/translate": "q.1", "/predict": "inputs.1.0"}


def error_of(answer: httpx.Response, route: str) -> str:
    """The message of a refusal, whose form is that of the route's protocol and no other."""
    content = answer.json()
    assert {*content} == ({"error", "error_type"} if route == "/predict" else {"error"}), content
    assert content.get("error_type", "Validation") == "Validation"
    return content["error"]


def test_libretranslate_takes_json_and_forms(client: httpx.Client) -> None:
    one = {"translatedText": "Ich liebe dich."}
    assert client.post("/translate", json=ASKED).json() == one
    assert client.post("/translate", data=ASKED).json() == one
    parts = {name: (None, value) for name, value in ASKED.items()}
    assert client.post("/translate", files=parts).json() == one
    many = client.post("/translate", json={**ASKED, "q": ENGLISH, "api_key": "x", "format": "text"})
    assert many.json() == {"translatedText": GERMAN}
    assert client.post("/translate", json={"text": '"q"'}).json().keys() == {"translation"}


def test_libretranslate_answers_what_else_its_clients_read(client: httpx.Client) -> None:
    detected = {"confidence": 0.0, "language": "en"}
    asked = {**ASKED, "source": "auto", "alternatives": 2}
    assert client.post("/translate", json=asked).json() == {
        "translatedText": "Ich liebe dich.",
        "detectedLanguage": detected,
        "alternatives": [],
    }
    assert client.post("/translate", json={**asked, "q": ENGLISH}).json() == {
        "translatedText": GERMAN,
        "detectedLanguage": [detected, detected],
        "alternatives": [[], []],
    }
    assert client.get("/languages").json() == [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": "html"}, "format: Input should be 'text'"),
        ({"target": "fr"}, "target: Input should be 'de'"),
        ({"source": "de"}, "source: Input should be 'en' or 'auto'"),
        ({"q": ""}, "q: String should have at least 1 character"),
        ({"q": []}, "q: List should have at least 1 item"),
        ({"alternatives": -1}, "alternatives: Input should be greater than or equal to 0"),
        ({"source": None}, "source: Input should be 'en' or 'auto'"),
    ],
)
def test_libretranslate_names_what_is_wrong(
    client: httpx.Client, changed: dict[str, object], message: str
) -> None:
    answer = client.post("/translate", json={**ASKED, **changed})
    assert answer.status_code == 400 and error_of(answer, "/translate").startswith(message)


MULTIPART = b'--b\r\nContent-Disposition: form-data; name="q"\r\n\r\na\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        (b"source=en&target=de", "application/x-www-form-urlencoded", "q: Field required"),
        (b"q=a&q=b&source=en&target=de", "application/x-www-form-urlencoded", "q: A name should not"),
        (
            b"q=%ff&source=en&target=de",
            "application/x-www-form-urlencoded",
            "body: Should be a form in UTF-8",
        ),
        (b"q=a&" + b"a=b&" * 200, "application/x-www-form-urlencoded", "body: Should be a form in UTF-8"),
        (MULTIPART, "multipart/form-data; boundary=b", "source: Field required"),
        (MULTIPART, "multipart/form-data", "body: Should be a form in UTF-8"),
        (MULTIPART, "multipart/form-data; boundary=c", "body: Should be a form in UTF-8"),
        (MULTIPART[:-6], "multipart/form-data; boundary=b", "body: Should be a form in UTF-8"),
        (MULTIPART.replace(b"name", b"file"), "multipart/form-data; boundary=b", "body: Should be a form"),
        (MULTIPART.replace(b"\na", b"\n\xff"), "multipart/form-data; boundary=b", "body: Should be a form"),
        (MULTIPART[:-4] * 200, "multipart/form-data; boundary=b", "body: Should be a form in UTF-8"),
    ],
)
def test_bad_forms_are_refused(client: httpx.Client, content: bytes, content_type: str, message: str) -> None:
    answer = client.post("/translate", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400 and error_of(answer, "/translate").startswith(message), answer.text


def test_predict_answers_both_labels_the_likelier_first(client: httpx.Client) -> None:
    own = client.post("/sentiment", json={"text": "a dull film"}).json()
    single = client.post("/predict", json={"inputs": "a dull film", "truncate": True}).json()
    assert [one["label"] for one in single] == [own["label"], "POSITIVE"] == ["NEGATIVE", "POSITIVE"]
    assert single[0]["score"] == pytest.approx(own["score"], abs=1e-3)
    assert sum(one["score"] for one in single) == pytest.approx(1)
    batch = client.post("/predict", json={"inputs": [["a dull film"], ["a great film"]]}).json()
    assert [[one["label"] for one in each] for each in batch] == [
        ["NEGATIVE", "POSITIVE"],
        ["POSITIVE", "NEGATIVE"],
    ]


def test_info_describes_the_classifier(client: httpx.Client) -> None:
    info = client.get("/info").json()
    labels = {"0": "NEGATIVE", "1": "POSITIVE"}
    assert info["model_type"]["classifier"]["id2label"] == labels
    assert (info["max_client_batch_size"], info["max_input_length"], info["auto_truncate"]) == (
        64,
        256,
        False,
    )
    assert info["model_dtype"] in ("float32", "int8") and info["model_id"].startswith("embedded")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"raw_scores": True}, "raw_scores: Should be false"),
        ({"inputs": [["a", "b"]]}, "inputs.0: List should have at most 1 item"),
        ({"inputs": ["a", "b"]}, "inputs.0: Input should be a valid array"),
        ({"inputs": [["a"]] * 65}, "inputs: List should have at most 64 items"),
        ({"inputs": "x y " * 500, "truncate": True}, "inputs: Text should have at most 256 tokens"),
        ({"inputs": []}, "inputs: List should have at least 1 item"),
        ({"raw_scores": 0}, "raw_scores: Input should be a valid boolean"),
        ({"truncate": 1}, "truncate: Input should be a valid boolean"),
    ],
)
def test_predict_names_what_is_wrong(client: httpx.Client, changed: dict[str, Any], message: str) -> None:
    answer = client.post("/predict", json={"inputs": "a", **changed})
    assert answer.status_code == 413 and error_of(answer, "/predict").startswith(message), answer.text


def test_infer_answers_in_the_shape_and_with_the_id_of_the_request(client: httpx.Client) -> None:
    output = {"name": "translation", "datatype": "BYTES", "shape": [2], "data": GERMAN}
    expected = {"model_name": "translation", "model_version": "1", "outputs": [output]}
    assert infer(client, "translation", *ENGLISH).json() == expected
    assert infer(client, "translation", *ENGLISH, id="7").json() == {**expected, "id": "7"}
    rows = {"inputs": [tensor(*([text] for text in ENGLISH), shape=[2, 1])]}
    answer = client.post("/v2/models/translation/versions/1/infer", json=rows).json()
    assert answer["outputs"] == [{**output, "shape": [2, 1]}]
    flat = client.post(INFER.format("translation"), json={"inputs": [tensor(*ENGLISH, shape=[2, 1])]}).json()
    assert flat["outputs"] == answer["outputs"]


def test_infer_gives_the_outputs_that_are_asked_for(client: httpx.Client) -> None:
    both = infer(client, "sentiment", "a great film", "a dull film").json()["outputs"]
    assert [(one["name"], one["datatype"]) for one in both] == [("label", "BYTES"), ("score", "FP32")]
    assert both[0]["data"] == ["POSITIVE", "NEGATIVE"] and all(0.5 < one <= 1 for one in both[1]["data"])
    one = infer(client, "sentiment", "a great film", outputs=[{"name": "label"}]).json()["outputs"]
    assert [output["data"] for output in one] == [["POSITIVE"]]


def test_infer_takes_and_gives_binary_tensors(client: httpx.Client) -> None:
    content, headers = binary(ENGLISH, shape=[2, 1], parameters={"binary_data_output": True})
    answer = client.post(INFER.format("translation"), content=content, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    data = encode_bytes([text.encode() for text in GERMAN])
    assert answer.content[size:] == data
    (output,) = json.loads(answer.content[:size])["outputs"]
    assert output["shape"] == [2, 1] and output["parameters"] == {"binary_data_size": len(data)}
    # Said of one output, it goes before what is said of all.
    outputs = [{"name": "score", "parameters": {"binary_data": False}}]
    content, headers = binary(["a film"], outputs=outputs, parameters={"binary_data_output": True})
    answer = client.post(INFER.format("sentiment"), content=content, headers=headers)
    assert answer.headers["content-type"] == "application/json" and answer.json()["outputs"][0]["data"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": []}, "inputs: List should have at least 1 item"),
        ({"inputs": [tensor("a"), tensor("a")]}, "inputs: List should have at most 1 item"),
        ({"inputs": [tensor("a", name="image")]}, "inputs.0.name: Input should be 'text'"),
        ({"inputs": [tensor("a", datatype="FP32")]}, "inputs.0.datatype: Input should be 'BYTES'"),
        ({"inputs": [tensor("a", shape=[2])]}, "inputs.0.data: Data should have 2 elements"),
        ({"inputs": [tensor("a", shape=[1, 2])]}, "inputs.0.shape: Shape should be [n] or [n, 1]"),
        ({"inputs": [tensor("a", shape=[1, 1, 1])]}, "inputs.0.shape: List should have at most 2 items"),
        ({"inputs": [tensor("a", shape=[0])]}, "inputs.0.shape.0: Input should be greater than"),
        (
            {"inputs": [tensor("a", shape=[65])]},
            "inputs.0.shape: Shape should be [n] or [n, 1], n at most 64",
        ),
        ({"inputs": [tensor(["a", "b"])]}, "inputs.0.data.0: List should have at most 1 item"),
        ({"inputs": [tensor("a", data=None)]}, "inputs.0.data: Input should be a valid array"),
        ({"inputs": [tensor("a")], "outputs": [{"name": "logits"}]}, "outputs.0.name: Input should be"),
        (
            {"inputs": [tensor("a")], "parameters": {"binary_data_output": 1}},
            "parameters.binary_data_output: ",
        ),
        (
            {"inputs": [tensor("a")], "outputs": [{"name": "label", "parameters": {"classification": 2}}]},
            "outputs.0.parameters.classification: Input should be less than or equal to 0",
        ),
        (
            {
                "inputs": [tensor("a")],
                "outputs": [{"name": "label", "parameters": {"shared_memory_region": "x"}}],
            },
            "outputs.0.parameters.shared_memory_region: Input should be null",
        ),
    ],
)
def test_infer_names_what_is_wrong(client: httpx.Client, body: dict[str, Any], message: str) -> None:
    answer = client.post(INFER.format("sentiment"), json=body)
    assert answer.status_code == 400 and error_of(answer, "/v2").startswith(message), answer.text


def test_beams_are_a_parameter_of_translation_alone(client: httpx.Client) -> None:
    text = "Several men in orange vests ride on a bike."
    own = client.post("/translate", json={"text": text, "num_beams": 4}).json()["translation"]
    answer = infer(client, "translation", text, parameters={"num_beams": 4}).json()
    assert answer["outputs"][0]["data"] == [own]
    refused = infer(client, "translation", text, parameters={"num_beams": 7})
    assert error_of(refused, "/v2").startswith(
        "parameters.num_beams: Input should be less than or equal to 6"
    )
    assert infer(client, "sentiment", text, parameters={"num_beams": 7}).status_code == 200


def test_models_are_described_by_name_and_by_version(client: httpx.Client) -> None:
    server = client.get("/v2").json()
    assert server["extensions"] == ["binary_tensor_data", "model_configuration"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/sentiment", "/v2/models/sentiment/versions/1"):
        model, configured = client.get(path).json(), client.get(f"{path}/config").json()
        assert model["versions"] == ["1"]
        assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]
        assert [(one["name"], one["datatype"]) for one in model["outputs"]] == [
            ("label", "BYTES"),
            ("score", "FP32"),
        ]
        assert configured["max_batch_size"] == 64
        assert configured["input"] == [{"name": "text", "data_type": "TYPE_STRING", "dims": [1]}]
        assert client.get(f"{path}/ready").json() == {"name": "sentiment", "ready": True}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/sentiment/versions/2", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/sentiment/stats", 404),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/models/sentiment/infer", 405),
    ],
)
def test_what_is_not_there_has_the_protocols_error(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status and isinstance(error_of(answer, path), str)


@pytest.mark.parametrize("route", VALID)
def test_server_timing_and_metrics_are_those_of_the_servers_own_routes(
    client: httpx.Client, route: str
) -> None:
    def answered() -> float:
        page = client.get("/metrics").text
        found = re.search(rf'gap_requests_total\{{route="{route}",status="200"\}} (\S+)', page)
        return float(found[1]) if found else 0.0

    before = answered()
    answer = client.post(route, json=VALID[route])
    assert answer.status_code == 200 and answered() == before + 1
    parts = answer.headers["server-timing"].split(", ")
    assert [part.partition(";")[0] for part in parts] == ["tokenize", "queue", "inference"]


@pytest.mark.parametrize("route", VALID)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "String should have at least 1 character"),
        (" \t\n", "Text should hold more than white space"),
        ("a" * 5_001, "String should have at most 5000 characters"),
        (UNREADABLE, "Text should hold a word that the model can read"),
        ("a\0b", "Text should not hold NUL characters"),
        (7, "Input should be a valid string"),
        (None, "Input should be a valid string"),
    ],
)
def test_a_bad_text_is_named_and_refuses_the_batch(
    client: httpx.Client, route: str, text: object, message: str
) -> None:
    answer = client.post(route, json=with_text(route, text))
    assert answer.status_code == BAD_INPUT[route], answer.text[:300]
    assert error_of(answer, route) == f"{PLACES[route]}: {message}"


@pytest.mark.parametrize("route", [route for route in VALID if route != "/translate"])
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[" * 100_000, b'{"inputs": "\xff"}', b'{"a": 1, "a": 1}']
)
def test_a_body_that_is_no_request_is_refused(client: httpx.Client, route: str, content: bytes) -> None:
    answer = client.post(route, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == BAD_INPUT[route] and error_of(answer, route)


IGNORED = ["9" * 4_300, "9" * 4_301, "-" + "9" * 4_300, "1e999999", "NaN", "[" * 150 + "]" * 150]
IGNORED += ["[" * 300 + "]" * 300, '"\\ud800"', '{"a": 1, "a": 2}', '":::::"', "01", "null"]


@pytest.mark.parametrize("route", VALID)
@pytest.mark.parametrize("value", IGNORED)
def test_whatever_an_unknown_field_holds_is_ignored_or_refused(
    client: httpx.Client, route: str, value: str
) -> None:
    content = f'{json.dumps(VALID[route])[:-1]}, "x": {value}}}'
    answer = client.post(route, content=content, headers={"content-type": "application/json"})
    # What is no JSON is of no protocol.
    assert answer.status_code in (200, BAD_INPUT[route], 422 if route == "/translate" else 200), answer.text


@pytest.mark.parametrize("route", VALID)
def test_many_names_are_read_in_no_time_that_others_would_notice(client: httpx.Client, route: str) -> None:
    names = {f"name{index}": index for index in range(60_000)}
    assert client.post(route, json={**VALID[route], **names}).status_code == 200
    content = json.dumps({**VALID[route], **names})[:-1] + ', "name7": 7}'
    answer = client.post(route, content=content, headers={"content-type": "application/json"})
    assert error_of(answer, route) == "name7: A name should not be there twice"


@pytest.mark.parametrize("route", VALID)
def test_limits_hold_before_a_body_is_read(client: httpx.Client, route: str) -> None:
    large = client.post(route, json={**VALID[route], "more": "a" * (3 << 20)})
    assert large.status_code == 413 and str(2 << 20) in large.text
    bad = client.post(route, json=VALID[route], headers={"X-Timeout-Ms": "soon"})
    assert bad.status_code == (422 if route == "/translate" else BAD_INPUT[route])
    assert "whole number from 1" in bad.text


@pytest.mark.parametrize("route", VALID)
def test_the_clients_deadline_is_kept(client: httpx.Client, route: str) -> None:
    body = with_text(route, "Several men in orange vests ride on a bike, " * 8)
    answer = client.post(route, json=body, headers={"X-Timeout-Ms": "1"})
    assert answer.status_code in ((429, 504) if route == "/predict" else (503, 504)), answer.text
    assert (answer.status_code == 504) == ("retry-after" not in answer.headers)
