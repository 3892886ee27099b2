"""The reading of a request's body within its limits: size, time, JSON, fields."""

import asyncio
import json
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError

from .config import Settings, widest_beam
from .errors import BodyTimeout, BodyTooLarge, Disconnected, InvalidInput
from .schemas import TextRequest, TextsRequest, TranslationRequest, TranslationsRequest

Body = TypeVar("Body", bound=BaseModel)

# What is left of a body that was not read is no next request.
CLOSE = {"Connection": "close"}


def readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text should hold more than white space")
    if "\0" in text:
        raise PydanticCustomError("nul", "Text should not hold NUL characters")
    return text


def whole(value: Any) -> Any:
    """To JSON Schema 4.0 is an integer, as it is to parsers that know one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class BodyReader:
    """Reads bodies within the limits of `settings`; its dependencies go into the endpoints."""

    def __init__(self, settings: Settings) -> None:
        text = Annotated[
            str, Field(min_length=1, max_length=settings.max_text_chars), AfterValidator(readable)
        ]
        texts = Annotated[list[text], Field(min_length=1, max_length=settings.max_batch_texts)]
        self.max_body_bytes = settings.max_body_bytes
        self.receive_timeout_ms = settings.receive_timeout_ms
        self.text: type[TextRequest] = create_model("TextRequest", __base__=TextRequest, text=(text, ...))
        self.texts: type[TextsRequest] = create_model(
            "TextsRequest", __base__=TextsRequest, texts=(texts, ...)
        )
        num_beams = Annotated[int, Field(strict=True, ge=1, le=widest_beam(settings)), BeforeValidator(whole)]
        self.translation: type[TranslationRequest] = create_model(
            "TranslationRequest", __base__=TranslationRequest, text=(text, ...), num_beams=(num_beams, 1)
        )
        self.translations: type[TranslationsRequest] = create_model(
            "TranslationsRequest", __base__=TranslationsRequest, texts=(texts, ...), num_beams=(num_beams, 1)
        )

    async def read(self, request: Request, kind: type[Body]) -> Body:
        """The request's JSON body as `kind`.

        Raises:
            InvalidInput: the content type, the JSON, a field's type or a limit is wrong.
            BodyTooLarge: there are more than `max_body_bytes` bytes, or are said to be.
            BodyTimeout: the body was not whole within `receive_timeout_ms`.
            Disconnected: the client hung up before the end of the body.
        """
        self._check_headers(request)
        try:
            async with asyncio.timeout(self.receive_timeout_ms / 1e3):
                body = await self._whole_body(request)
        except TimeoutError:
            raise BodyTimeout(f"The body should arrive within {self.receive_timeout_ms} ms", CLOSE) from None
        try:
            found = kind.model_validate_json(body)
        except ValidationError as error:
            raise InvalidInput(
                *((["body", *item["loc"]], item["msg"]) for item in error.errors(include_input=False))
            ) from None
        # No more colons than fields: then no name can be there twice, and nothing is parsed again.
        if body.count(b":") > len(found.model_fields_set):
            refuse_repeated_names(body)
        return found

    def _check_headers(self, request: Request) -> None:
        media_type = b"application/json"
        for name, value in request.scope["headers"]:
            if name == b"content-type":
                media_type = value.partition(b";")[0].strip().lower()
            elif name == b"content-length" and int(value) > self.max_body_bytes:
                raise self._too_large()
        if media_type != b"application/json":
            raise InvalidInput((["header", "content-type"], "Content type should be application/json"))

    async def _whole_body(self, request: Request) -> bytearray:
        body = bytearray()
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected("the client hung up before its body was whole")
            body += message.get("body", b"")
            if len(body) > self.max_body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return body

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"The body should have at most {self.max_body_bytes} bytes", CLOSE)


def refuse_repeated_names(body: bytearray) -> None:
    """InvalidInput where an object of the JSON in `body` has a name twice: which one counts is unclear."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) < len(pairs):
            repeated = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
            raise InvalidInput((["body", repeated], "A name should not be there twice"))
        return names

    json.loads(body, object_pairs_hook=unique)


async def text_body(request: Request) -> TextRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.text)


async def texts_body(request: Request) -> TextsRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.texts)


async def translation_body(request: Request) -> TranslationRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.translation)


async def translations_body(request: Request) -> TranslationsRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.translations)
