"""What a request can fail with: each error is its answer's status, the `detail` of its JSON, and headers."""

from collections.abc import Sequence

from fastapi import HTTPException
from fastapi.responses import JSONResponse


class InvalidInput(HTTPException):
    """422: for each problem the part of the request, and what is wrong with it and the limit."""

    def __init__(self, *problems: tuple[Sequence[str | int], str]) -> None:
        super().__init__(422, [{"loc": [*loc], "msg": msg, "type": "invalid_input"} for loc, msg in problems])


class Disconnected(HTTPException):
    """The client disconnected: nobody reads this answer, its status (nginx's) only tells it from others."""

    def __init__(self) -> None:
        super().__init__(499, "the client disconnected")


class Refusal(HTTPException):
    """503: the server is not ready, stops, or is overloaded; the client may come again later."""

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(503, detail, {"Retry-After": str(retry_after_s)})


class DeadlineExceeded(HTTPException):
    """504: the deadline passed before the answer was there."""

    def __init__(self) -> None:
        super().__init__(504, "the deadline passed before the answer was there")


def error_response(error: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
