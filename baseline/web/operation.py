"""A POST to the engine, of whichever protocol: how its body is read, its answer and errors written."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Union

from fastapi import Response

from .errors import ErrorForm, detail_form
from .schemas import InputProblems, Problem, in_place

MAX_TIMEOUT_MS = 86_400_000
ERRORS = {
    400: "Not HTTP/1.1 as it should be",
    408: "The body did not arrive in time",
    413: "The body is larger than the limit",
    431: "The header is larger than the limit",
    503: "Not ready, or cannot take the request now; see Retry-After",
    504: "The deadline passed",
}
BAD_INPUT = "Bad input; names the field and the limit"


class Query(NamedTuple):
    """What a body asks the engine for.

    `write` makes the response from the engine's answers, which are as many as the texts and in their order.
    `place` is where the text of an index stands in the request.
    """

    texts: list[str]
    write: Callable[[list[Any]], Response]
    place: Callable[[int], Sequence[str | int]]
    num_beams: int = 1


class Operation(ABC):
    """A POST whose texts go to `task` of the engine; `answer` is the type of its answer's JSON."""

    task: str
    answer: Any
    # How errors are written; the type of that JSON, and the status and the type of bad input.
    error_form: ErrorForm = staticmethod(detail_form)
    error: Any = Problem
    bad_input: tuple[int, Any] = (422, InputProblems)
    # What its answer may be besides JSON.
    other_answer: str | None = None
    # Of another protocol at the same path, for the bodies that it takes.
    other: "Operation | None" = None

    def takes(self, headers: Mapping[str, str], content: bytearray) -> bool:
        """Whether a body is of this operation; asked where another shares its path."""
        return True

    @abstractmethod
    def parse(self, headers: Mapping[str, str], content: bytearray) -> Query:
        """What the body asks for; raises InvalidInput."""

    @property
    @abstractmethod
    def bodies(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of the body by media type."""

    @property
    def errors(self) -> dict[int, tuple[Any, str]]:
        """The type and the description of its errors by status.

        What is refused before its path is known has the form of the servers' own routes.
        """
        errors = {status: (Union[Problem, self.error], text) for status, text in ERRORS.items()}  # noqa: UP007
        status, kind = self.bad_input
        if status not in errors:
            return {**errors, status: (kind, BAD_INPUT)}
        return {**errors, status: (errors[status][0], f"{errors[status][1]}. Or: {BAD_INPUT}")}


def describe(operation: Operation) -> dict[str, Any]:
    """What FastAPI needs to put an operation, and the other at its path, into the OpenAPI document."""
    both = [one for one in (operation, operation.other) if one is not None]
    bodies: dict[str, list[Any]] = {}
    errors: dict[int, list[tuple[Any, str]]] = {}
    for one in both:
        for media_type, schema in one.bodies.items():
            bodies.setdefault(media_type, []).append(in_place(schema))
        for status, error in one.errors.items():
            errors.setdefault(status, []).append(error)
    content = {
        media_type: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        for media_type, schemas in bodies.items()
    }
    responses: dict[int, dict[str, Any]] = {}
    if operation.other_answer is not None:
        responses[200] = {"content": {operation.other_answer: {}}}
    for status, found in sorted(errors.items()):
        models, texts = zip(*found, strict=True)
        responses[status] = {"model": Union[models], "description": texts[-1]}  # noqa: UP007
    timeout_ms = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS}
    return {
        "response_model": Union[tuple(one.answer for one in both)],  # noqa: UP007
        "responses": responses,
        "openapi_extra": {
            "parameters": [{"in": "header", "name": "X-Timeout-Ms", "schema": timeout_ms}],
            "requestBody": {"required": True, "content": content},
        },
    }
