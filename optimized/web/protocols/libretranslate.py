"""LibreTranslate's API: POST /translate with `q` for `text`, and GET /languages.

As documented at https://docs.libretranslate.com/api/operations/translate/ and answered by its app.py.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated, Any, Literal, Union
from urllib.parse import parse_qsl

from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Discriminator, NonNegativeInt, Tag, ValidationError, create_model
from pydantic_core import from_json

from ..errors import InvalidInput, text_form
from ..model_files import Languages
from ..operation import Operation, Query
from ..request_parsing import JSON, invalid, media_type, parse_json, refuse_repeated_names, require_json
from ..schemas import ErrorText, at_least, text_types
from ..settings import HttpSettings

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
MAX_FIELDS = 100
BOUNDARY = re.compile(r';\s*boundary="?([^";]{1,70})"?', re.IGNORECASE)
FIELD_NAME = re.compile(rb'^content-disposition:.*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE | re.MULTILINE)
NAMES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French"}


class DetectedLanguage(BaseModel):
    """`confidence` is 0, as it is in LibreTranslate where it detects nothing and takes its default."""

    confidence: float
    language: str


class LibreTranslation(BaseModel):
    """Lists where `q` is a list."""

    translatedText: str | list[str]
    detectedLanguage: DetectedLanguage | list[DetectedLanguage] | None = None
    alternatives: list[str] | list[list[str]] | None = None


class Language(BaseModel):
    code: str
    name: str
    targets: list[str]


class LibreTranslate(Operation):
    """A translation as LibreTranslate's clients ask for it, as JSON or as a form."""

    task = "translation"
    error, bad_input = ErrorText, (400, ErrorText)
    error_form = staticmethod(text_form)
    answer = LibreTranslation

    def __init__(self, settings: HttpSettings, languages: Languages) -> None:
        self._source = languages.source
        one, many, *_ = text_types(settings)

        fields: dict[str, Any] = {
            "source": Literal[languages.source, "auto"],
            "target": Literal[languages.target],
            "format": (Literal["text", ""], "text"),
            "api_key": (str | None, None),
        }
        kinds = Annotated[one, Tag("<text>")], Annotated[many, Tag("<texts>")]
        is_list = Discriminator(lambda q: "<texts>" if isinstance(q, list) else "<text>")
        any_q: Any = Annotated[Union[kinds], is_list]  # noqa: UP007
        self._json_body = create_model(
            "LibreTranslateRequest", q=any_q, alternatives=(at_least(0), 0), **fields
        )
        # All that a form holds is text.
        self._form_body = create_model(
            "LibreTranslateForm", q=one, alternatives=(NonNegativeInt, 0), **fields
        )

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        form = self._form_body.model_json_schema()
        return {JSON: self._json_body.model_json_schema(), FORM: form, MULTIPART: form}

    def takes(self, headers: Mapping[str, str], content: bytearray) -> bool:
        # Most bodies of the other protocol end here: in JSON a "q" with both quotes is a whole string.
        if content.startswith(b"{") and b'"q"' not in content:
            return False
        if media_type(headers) in (FORM, MULTIPART):
            return True
        with suppress(ValueError):
            body = from_json(content)
            return isinstance(body, dict) and "q" in body and "text" not in body
        return False

    def parse(self, headers: Mapping[str, str], content: bytearray) -> Query:
        if media_type(headers) in (FORM, MULTIPART):
            body: Any = self._parse_form(headers, bytes(content))
        else:
            require_json(headers)
            body = parse_json(self._json_body, content)
        write = partial(self._write, body)
        if isinstance(body.q, list):
            return Query(body.q, write, lambda index: ("body", "q", index))
        return Query([body.q], write, lambda index: ("body", "q"))

    def _parse_form(self, headers: Mapping[str, str], content: bytes) -> BaseModel:
        try:
            if media_type(headers) == FORM:
                pairs = parse_qsl(
                    content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
                )
            else:
                pairs = multipart_fields(headers["content-type"], content)
        except ValueError:
            problem = f"Should be a form in UTF-8 of at most {MAX_FIELDS} fields"
            raise InvalidInput((["body"], problem)) from None
        known = [(name, value) for name, value in pairs if name in self._form_body.model_fields]
        try:
            return self._form_body.model_validate(refuse_repeated_names(known))
        except ValidationError as error:
            raise invalid(error) from None

    def _write(self, body: Any, translations: list[str]) -> Response:
        shaped: Callable[[list[Any]], Any] = list if isinstance(body.q, list) else lambda values: values[0]
        content: dict[str, Any] = {"translatedText": shaped(translations)}
        if body.source == "auto":
            detected = {"confidence": 0.0, "language": self._source}
            content["detectedLanguage"] = shaped([detected] * len(translations))
        if body.alternatives:
            content["alternatives"] = shaped([[]] * len(translations))
        return JSONResponse(content)


def multipart_fields(content_type: str, content: bytes) -> list[tuple[str, str]]:
    """Names and values of a multipart/form-data body (RFC 7578); ValueError where it is none."""
    boundary = BOUNDARY.search(content_type)
    if boundary is None:
        raise ValueError("no boundary")
    delimiter = b"\r\n--" + boundary[1].encode("latin-1")
    _, *parts, end = (b"\r\n" + content).split(delimiter, MAX_FIELDS + 1)
    if not end.startswith(b"--"):
        raise ValueError("too many fields, or no end")
    fields = []
    for part in parts:
        header, _, value = part.partition(b"\r\n\r\n")
        name = FIELD_NAME.search(header)
        if name is None or not header.startswith(b"\r\n"):
            raise ValueError("no part with a name")
        fields.append((name[1].decode(), value.decode()))
    return fields


def language_list(languages: Languages) -> list[Language]:
    """What GET /languages answers: the source and the target, which itself is translated into nothing."""
    codes = {languages.source: [languages.target], languages.target: []}
    return [Language(code=code, name=NAMES.get(code, code), targets=to) for code, to in codes.items()]
