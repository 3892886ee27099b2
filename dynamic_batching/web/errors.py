"""What a request can fail with, and the one place where that becomes an HTTP answer."""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

LONGEST_NAME = 64
UNFORESEEN = "internal server error"
DEADLINE_PASSED = "the deadline passed before the answer was there"


class RequestError(Exception):
    """A request that gets an answer other than 200: `status`, `detail` and extra headers."""

    status = 500

    def __init__(self, detail: object, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers


class InvalidInput(RequestError):
    """422: `where` names the part of the request, `message` what is wrong and the limit."""

    status = 422

    def __init__(self, *problems: tuple[Sequence[str | int], str]) -> None:
        # A name may be the client's own, so it is cut; a text of the client's is never sent back.
        super().__init__(
            [
                {
                    "loc": [part[:LONGEST_NAME] if isinstance(part, str) else part for part in where],
                    "msg": message,
                    "type": "invalid_input",
                }
                for where, message in problems
            ]
        )


class BodyTimeout(RequestError):
    """408: the body did not arrive in time; it was not read to its end."""

    status = 408


class BodyTooLarge(RequestError):
    """413: the body is larger than the limit; it was not read to its end."""

    status = 413


class NotReady(RequestError):
    """503: models are not loaded yet, no engine works, or the server is draining."""

    status = 503

    def __init__(self, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after_s)})
        self.detail: str = detail
        self.retry_after_s = retry_after_s


class Overloaded(NotReady):
    """503: the queue is full, or what waits in it leaves no time to meet the deadline."""


class DeadlineExceeded(RequestError):
    """504: the deadline passed before the answer was there."""

    status = 504


class Disconnected(RequestError):
    """The client hung up: nobody reads this answer, its status (nginx's) only tells it from others."""

    status = 499


class EngineLost(RequestError):
    """500: the engine that had the request hangs or has ended; logged once, where that is noticed."""

    def __init__(self) -> None:
        super().__init__(UNFORESEEN)


class InferenceFailed(Exception):
    """The model raised `__cause__` on this request alone; leaves as an unforeseen error, with traceback."""


def error_answer(error: RequestError) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status, error.headers)


def add_error_handlers(app: FastAPI) -> None:
    """Errors leave as JSON with `detail`; one that nobody foresaw leaves as a fixed text."""

    async def known(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestError)
        return error_answer(error)

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again behind this answer, so its traceback reaches the log.
        # The server closes a connection over that, so no client may send its next request into it.
        return JSONResponse({"detail": UNFORESEEN}, 500, {"Connection": "close"})

    app.add_exception_handler(RequestError, known)
    app.add_exception_handler(Exception, unforeseen)
