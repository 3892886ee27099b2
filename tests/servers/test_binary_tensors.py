"""Binary tensors of the Open Inference Protocol: whatever bytes come, they are the texts sent or refused."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from optimized.config import Settings
from optimized.web.errors import InvalidInput, one_line, text_form
from optimized.web.protocols.binary_tensors import decode_bytes, encode_bytes, encode_fp32
from optimized.web.protocols.open_inference_protocol import Infer
from optimized.web.schemas import Sentiment

ELEMENTS = st.lists(st.binary(max_size=40), max_size=20)
TEXTS = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
    ).filter(str.strip),
    min_size=1,
    max_size=8,
)
INFER = {task: Infer(Settings(), task) for task in ("translation", "sentiment")}
LENGTH = "inference-header-content-length"


def request(texts: list[str], **more: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary data of a request."""
    data = encode_bytes([text.encode() for text in texts])
    parameters = {"binary_data_size": len(data)}
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "parameters": parameters}
    return {"inputs": [tensor], **more}, data


def parse(body: dict[str, Any], data: bytes, task: str = "sentiment") -> Any:
    head = json.dumps(body).encode()
    return INFER[task].parse({LENGTH: str(len(head))}, bytearray(head + data))


def refusal(body: dict[str, Any], data: bytes) -> str:
    with pytest.raises(InvalidInput) as raised:
        parse(body, data)
    status, _ = text_form(raised.value)
    assert status == 400
    return one_line(raised.value)


@given(elements=ELEMENTS)
def test_elements_come_back_from_their_bytes(elements: list[bytes]) -> None:
    assert decode_bytes(encode_bytes(elements), len(elements)) == elements


@given(elements=ELEMENTS)
def test_the_layout_is_that_of_tritons_client(elements: list[bytes]) -> None:
    values = np.array(elements, dtype=object)
    theirs = serialize_byte_tensor(values).item() if elements else b""
    assert encode_bytes(elements) == theirs
    assert list(deserialize_bytes_tensor(encode_bytes(elements))) == elements


@given(values=st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_numbers_are_little_endian_float32(values: list[float]) -> None:
    assert encode_fp32(values) == np.array(values, dtype="<f4").tobytes()


@given(data=st.binary(max_size=200), count=st.integers(0, 20))
def test_any_bytes_are_the_elements_that_they_say_or_refused(data: bytes, count: int) -> None:
    try:
        elements = decode_bytes(data, count)
    except ValueError as error:
        assert "Binary data should" in str(error)
    else:
        assert len(elements) == count and encode_bytes(elements) == data


@given(elements=ELEMENTS.filter(bool), data=st.data())
def test_truncated_bytes_and_other_counts_are_refused(elements: list[bytes], data: st.DataObject) -> None:
    encoded = encode_bytes(elements)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(ValueError, match="ends within number"):
        decode_bytes(encoded[:cut], len(elements))
    with pytest.raises(ValueError, match="should end with element"):
        decode_bytes(encoded + b"\0", len(elements))
    with pytest.raises(ValueError, match="ends within number"):
        decode_bytes(encoded, len(elements) + 1)
    with pytest.raises(ValueError, match="should end with element"):
        decode_bytes(encoded, len(elements) - 1)


@given(texts=TEXTS, rows=st.booleans())
def test_a_request_holds_its_texts(texts: list[str], rows: bool) -> None:
    body, data = request(texts)
    body["inputs"][0]["shape"] += [1] * rows
    query = parse(body, data)
    assert query.texts == texts
    assert query.place(0) == ("body", "inputs", 0, "data", 0)


@given(texts=TEXTS, size=st.integers(0, 1_000))
def test_a_size_that_is_not_that_of_the_bytes_is_refused(texts: list[str], size: int) -> None:
    body, data = request(texts)
    body["inputs"][0]["parameters"]["binary_data_size"] = size
    if size == len(data):
        assert parse(body, data).texts == texts
    else:
        assert refusal(body, data).startswith("inputs.0.parameters.binary_data_size: Should be ")


@given(content=st.binary(max_size=300), length=st.integers(-5, 400))
def test_no_body_and_no_header_is_an_error_of_ours(content: bytes, length: int) -> None:
    with pytest.raises(InvalidInput):
        INFER["translation"].parse({LENGTH: str(length)}, bytearray(content))


@given(texts=TEXTS, cut=st.integers(1, 500))
def test_a_header_that_cuts_into_the_json_is_refused(texts: list[str], cut: int) -> None:
    body, data = request(texts)
    head = json.dumps(body).encode()
    with pytest.raises(InvalidInput):
        INFER["sentiment"].parse({LENGTH: str(max(len(head) - cut, 0))}, bytearray(head + data))


@pytest.mark.parametrize("length", ["", "-1", "1.5", "0x10", "9" * 30, "\xb2", "many", "100000"])
def test_a_header_that_is_no_size_is_refused(length: str) -> None:
    body, data = request(["a"])
    with pytest.raises(InvalidInput) as raised:
        INFER["sentiment"].parse({LENGTH: length}, bytearray(json.dumps(body).encode() + data))
    assert one_line(raised.value).startswith(f"{LENGTH}: Should be a size of at most ")


def test_what_is_in_binary_data_is_held_to_the_limits_of_texts() -> None:
    body, _ = request(["ab", "cd"])
    for element, message in (
        (b"\xff\xfe", "inputs.0.data: Data should be text in UTF-8"),
        (b"", "inputs.0.data.1: String should have at least 1 character"),
        (b"a\0", "inputs.0.data.1: Text should not hold NUL characters"),
        (b"a" * 5_001, "inputs.0.data.1: String should have at most 5000 characters"),
    ):
        data = encode_bytes([b"a", element])
        body["inputs"][0]["parameters"]["binary_data_size"] = len(data)
        assert refusal(body, data) == message
    body["inputs"][0]["shape"] = [1_000_000_000]
    assert "n at most 64" in refusal(body, data)


@pytest.mark.parametrize("missing", ["parameters", "shape", "name", "datatype"])
def test_a_tensor_says_what_it_is(missing: str) -> None:
    body, data = request(["a"])
    del body["inputs"][0][missing]
    assert refusal(body, data) == f"inputs.0.{missing}: Field required"


@given(texts=TEXTS, names=st.lists(st.sampled_from(["label", "score"]), max_size=2, unique=True))
def test_an_answer_holds_the_outputs_in_their_order_and_as_triton_reads_them(
    texts: list[str], names: list[str]
) -> None:
    outputs = [{"name": name, "parameters": {"binary_data": True}} for name in names]
    body, data = request(texts, outputs=outputs, parameters={"binary_data_output": True})
    answers = [
        Sentiment(label="POSITIVE" if index % 2 else "NEGATIVE", score=1 / (index + 1))
        for index in range(len(texts))
    ]
    response = parse(body, data).write(answers)
    size = int(response.headers[LENGTH])
    content, rest = json.loads(response.body[:size]), response.body[size:]
    assert [output["name"] for output in content["outputs"]] == (names or ["label", "score"])
    for output in content["outputs"]:
        length = output["parameters"]["binary_data_size"]
        part, rest = bytes(rest[:length]), rest[length:]
        if output["name"] == "label":
            assert [one.decode() for one in deserialize_bytes_tensor(part)] == [one.label for one in answers]
        else:
            assert np.frombuffer(part, "<f4").tolist() == pytest.approx([one.score for one in answers])
    assert not rest
