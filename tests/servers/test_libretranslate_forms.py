"""Forms of LibreTranslate's clients: what they encode is read again, and anything else is refused."""

import string
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimized.config import Settings
from optimized.web.errors import InvalidInput
from optimized.web.model_files import Languages
from optimized.web.protocols.libretranslate import MAX_FIELDS, LibreTranslate, language_list, multipart_fields

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60
).filter(str.strip)
NAMES = st.text(string.ascii_letters + "_-", min_size=1, max_size=10)
OPERATION = LibreTranslate(Settings(), Languages("en", "de"))


def encoded(fields: dict[str, str]) -> tuple[str, bytes]:
    """The content type and the body of a multipart form, as httpx writes it."""
    parts = {name: (None, value.encode()) for name, value in fields.items()}
    request = httpx.Request("POST", "http://server/translate", files=parts)
    return request.headers["content-type"], request.read()


@given(fields=st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_the_parts_of_a_form_come_back(fields: dict[str, str]) -> None:
    assert dict(multipart_fields(*encoded(fields))) == fields


@given(text=TEXTS, multipart=st.booleans())
def test_a_text_comes_through_a_form_as_it_is(text: str, multipart: bool) -> None:
    fields = {"q": text, "source": "en", "target": "de"}
    content_type, body = encoded(fields)
    if not multipart:
        content_type, body = "application/x-www-form-urlencoded", urlencode(fields).encode()
    query = OPERATION.parse({"content-type": content_type}, bytearray(body))
    assert query.texts == [text] and query.place(0) == ("body", "q")


@given(
    body=st.binary(max_size=200), boundary=st.sampled_from(["b", "-", "\r\n", ""]), multipart=st.booleans()
)
def test_bytes_that_are_no_form_are_refused(body: bytes, boundary: str, multipart: bool) -> None:
    content_type = (
        f"multipart/form-data; boundary={boundary}" if multipart else "application/x-www-form-urlencoded"
    )
    with pytest.raises(InvalidInput):
        OPERATION.parse({"content-type": content_type}, bytearray(body))


@given(text=TEXTS, cut=st.integers(1, 400))
def test_a_form_that_is_cut_short_is_refused(text: str, cut: int) -> None:
    content_type, body = encoded({"source": "en", "target": "de", "q": text})
    # Behind the last boundary is a line end, which may be missing.
    with pytest.raises(InvalidInput):
        OPERATION.parse({"content-type": content_type}, bytearray(body[: -2 - cut]))


def test_a_form_has_a_bound_on_its_fields() -> None:
    most = {f"field{index}": "" for index in range(MAX_FIELDS)}
    assert len(multipart_fields(*encoded(most))) == MAX_FIELDS
    with pytest.raises(ValueError, match="too many fields"):
        multipart_fields(*encoded({**most, "more": ""}))


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        (b'{"q": "a"}', True),
        (b' {"q": 1, "source": "en"}', True),
        (b'{"text": "q"}', False),
        (b'{"text": "a", "q": "a"}', False),
        (b'{"text": "\\"q\\""}', False),
        (b'["q"]', False),
        (b'{"q"', False),
        (b"", False),
    ],
)
def test_a_json_body_with_q_and_without_text_is_libretranslates(content: bytes, taken: bool) -> None:
    assert OPERATION.takes({"content-type": "application/json"}, bytearray(content)) == taken


def test_languages_without_a_name_here_have_their_code() -> None:
    listed: list[Any] = [one.model_dump() for one in language_list(Languages("und", "fi"))]
    assert listed == [
        {"code": "und", "name": "und", "targets": ["fi"]},
        {"code": "fi", "name": "fi", "targets": []},
    ]
