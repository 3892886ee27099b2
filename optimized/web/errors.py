"""What a request can fail with: each error is its answer's status, a detail for its JSON, and headers."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException


class InvalidInput(HTTPException):
    """422: for each problem the part of the request, and what is wrong with it and the limit."""

    def __init__(self, *problems: tuple[Sequence[str | int], str]) -> None:
        super().__init__(422, [{"loc": [*loc], "msg": msg, "type": "invalid_input"} for loc, msg in problems])


class Disconnected(HTTPException):
    """The client disconnected: nobody reads this answer, its status (nginx's) only tells it from others."""

    def __init__(self) -> None:
        super().__init__(499, "the client disconnected")


class Refusal(HTTPException):
    """503: the server is overloaded, or not ready; the client may come again later."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(503, detail, {"Retry-After": str(retry_after_s)})


class NotReady(Refusal):
    """503: the server loads, stops, or cannot work."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"not ready: {problem}")


class DeadlineExceeded(HTTPException):
    """504: the deadline passed before the answer was there."""

    def __init__(self) -> None:
        super().__init__(504, "the deadline passed before the answer was there")


# How a protocol writes an error: its status and JSON.
ErrorForm = Callable[[AnyHTTPException], tuple[int, dict[str, Any]]]


def detail_form(error: AnyHTTPException) -> tuple[int, dict[str, Any]]:
    """FastAPI's form, that of the servers' own routes."""
    return error.status_code, {"detail": error.detail}


def text_form(error: AnyHTTPException) -> tuple[int, dict[str, Any]]:
    """The form of LibreTranslate and of the Open Inference Protocol: `error` is a text; 400 for bad input."""
    return 400 if isinstance(error, InvalidInput) else error.status_code, {"error": one_line(error)}


def one_line(error: AnyHTTPException) -> str:
    """The error's text; of bad input each problem after its place, as in "q.1: Field required"."""
    if not isinstance(error, InvalidInput):
        return str(error.detail)
    problems: Any = error.detail
    places = (".".join(map(str, problem["loc"][1:] or problem["loc"])) for problem in problems)
    return "; ".join(f"{place}: {problem['msg']}" for place, problem in zip(places, problems, strict=True))


def error_response(error: AnyHTTPException, form: ErrorForm = detail_form) -> JSONResponse:
    status, content = form(error)
    return JSONResponse(content, status, error.headers)
