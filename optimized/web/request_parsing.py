"""The reading of a request's body within its limits: size, time, JSON, fields."""

import asyncio
import json
from typing import Any

from fastapi import HTTPException, Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from .errors import Disconnected, InvalidInput
from .settings import HttpSettings

# What is left of a body that was not read is no next request.
CLOSE = {"Connection": "close"}
MAX_NAME_CHARS = 64


async def read_body(request: Request, kind: type[BaseModel], settings: HttpSettings) -> Any:
    """The request's JSON body as `kind`.

    Raises InvalidInput where the content type, the JSON, a field's type or a limit is wrong, HTTPException
    413 for a larger and 408 for a later body than the limits allow, or Disconnected.
    """
    media_type = request.headers.get("content-type", "application/json").partition(";")[0]
    too_large = HTTPException(413, f"The body should have at most {settings.max_body_bytes} bytes", CLOSE)
    if int(request.headers.get("content-length", 0)) > settings.max_body_bytes:
        raise too_large
    if media_type.strip().lower() != "application/json":
        raise InvalidInput((["header", "content-type"], "Content type should be application/json"))
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
    try:
        body = kind.model_validate_json(content)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_input=False):
            # A name may be the client's own, so it is cut; a text of the client's is never sent back.
            place = [part if isinstance(part, int) else part[:MAX_NAME_CHARS] for part in problem["loc"]]
            problems.append((["body", *place], problem["msg"]))
        raise InvalidInput(*problems) from None
    # No more colons than fields: then no name can be there twice, and nothing is parsed again.
    if content.count(b":") > len(body.model_fields_set):
        json.loads(content, object_pairs_hook=refuse_repeated_names)
    return body


def refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of `pairs`; InvalidInput where a name is there twice: which counts is unclear."""
    names = [name for name, _ in pairs]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidInput((["body", name[:MAX_NAME_CHARS]], "A name should not be there twice"))
    return dict(pairs)
