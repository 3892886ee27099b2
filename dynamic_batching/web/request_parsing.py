"""The reading of a request's body within its limits: size, time, JSON, fields."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from .errors import Disconnected, InvalidInput
from .settings import HttpSettings

# What is left of a body that was not read is no next request.
CLOSE = {"Connection": "close"}
JSON = "application/json"
MAX_NAME_CHARS = 64
# pydantic names the member of a union that a value was held against; no part of the body has such a name.
UNION_TAG = "<"

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, settings: HttpSettings) -> bytearray:
    """The request's body.

    Raises HTTPException 413 for a larger and 408 for a later body than the limits allow, or Disconnected.
    """
    too_large = HTTPException(413, f"The body should have at most {settings.max_body_bytes} bytes", CLOSE)
    if int(request.headers.get("content-length", 0)) > settings.max_body_bytes:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(settings.receive_timeout_ms / 1e3):
            async for chunk in request.stream():
                content += chunk
                if len(content) > settings.max_body_bytes:
                    raise too_large
    except TimeoutError:
        late = f"The body should arrive within {settings.receive_timeout_ms} ms"
        raise HTTPException(408, late, CLOSE) from None
    except ClientDisconnect:
        raise Disconnected from None
    return content


def media_type(headers: Mapping[str, str]) -> str:
    """The body's media type without parameters, in small letters; that of JSON where none is given."""
    return headers.get("content-type", JSON).partition(";")[0].strip().lower()


def require_json(headers: Mapping[str, str]) -> None:
    """InvalidInput where the body is said to be anything but JSON."""
    if media_type(headers) != JSON:
        raise InvalidInput((["header", "content-type"], f"Content type should be {JSON}"))


def parse_json(kind: type[Body], content: bytes | bytearray) -> Body:
    """A JSON body as `kind`; InvalidInput where the JSON, a field's type or a limit is wrong."""
    try:
        body = kind.model_validate_json(content)
    except ValidationError as error:
        raise invalid(error) from None
    # No more colons than fields: then no name can be there twice, and nothing is parsed again.
    if content.count(b":") > len(body.model_fields_set):
        json.loads(content, object_pairs_hook=refuse_repeated_names)
    return body


def invalid(error: ValidationError, *within: str | int) -> InvalidInput:
    """The problems of a body that is not of its kind, or of the part that lies `within` it."""
    problems = []
    for problem in error.errors(include_input=False):
        loc = (part for part in problem["loc"] if isinstance(part, int) or not part.startswith(UNION_TAG))
        # A name may be the client's own, so it is cut; a text of the client's is never sent back.
        place = [part if isinstance(part, int) else part[:MAX_NAME_CHARS] for part in loc]
        problems.append(([*(within or ("body",)), *place], problem["msg"]))
    return InvalidInput(*problems)


def refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of `pairs`; InvalidInput where a name is there twice: which counts is unclear."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise InvalidInput((["body", name[:MAX_NAME_CHARS]], "A name should not be there twice"))
        values[name] = value
    return values
