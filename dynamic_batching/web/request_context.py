"""A request's context: by when it must be answered, what its time went into, and headers of its answer."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from starlette.types import Receive

from .errors import DeadlineExceeded, ErrorForm, InvalidInput, detail_form
from .operation import MAX_TIMEOUT_MS, Operation

# Its key in the ASGI scope.
CONTEXT = "request_context"
PHASES = ("tokenize", "queue", "inference")
UNREADABLE = "Text should hold a word that the model can read"


class RequestContext:
    """Times are of time.perf_counter, in seconds; `receive` is the request's ASGI channel."""

    receive: Receive | None = None
    # Where the text of an index stands in the request.
    place: Callable[[int], Sequence[str | int]] = staticmethod(lambda index: ("body", "text"))
    # What the engine is asked for, texts or sentences, each with the index of its text in the request.
    asked: Sequence[tuple[int, str]] = ()

    def __init__(self, operation: Operation | None = None) -> None:
        self.operation = operation
        self.arrived_s = time.perf_counter()
        self.deadline_s = float("inf")
        self.phases_s: dict[str, float] = {}
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def error_form(self) -> ErrorForm:
        """How errors are written to this client."""
        return detail_form if self.operation is None else self.operation.error_form

    def set_deadline(self, headers: Iterable[tuple[bytes, bytes]], timeout_ms: int) -> None:
        """`timeout_ms` after the arrival, or sooner by X-Timeout-Ms; InvalidInput where that is no number."""
        for name, value in headers:
            if name == b"x-timeout-ms":
                if not (value.isdigit() and len(value) <= 12 and 0 < int(value) <= MAX_TIMEOUT_MS):
                    message = f"Should be a whole number from 1 to {MAX_TIMEOUT_MS}"
                    raise InvalidInput((["header", "x-timeout-ms"], message))
                timeout_ms = min(timeout_ms, int(value))
        self.deadline_s = self.arrived_s + timeout_ms / 1e3

    def remaining_s(self) -> float:
        """Seconds to the deadline; DeadlineExceeded where there are none."""
        remaining_s = self.deadline_s - time.perf_counter()
        if remaining_s <= 0:
            raise DeadlineExceeded
        return remaining_s

    def check_tokens(
        self, batch: Iterable[tuple[str, list[int]]], max_tokens: int, meaningless: set[int]
    ) -> None:
        """InvalidInput where a model cannot take the tokens of texts or sentences that were asked for."""
        problems: dict[str, str] = {}
        for text, token_ids in batch:
            if len(token_ids) > max_tokens:
                problems[text] = f"Text should have at most {max_tokens} tokens, not {len(token_ids)}"
            elif meaningless.issuperset(token_ids):
                problems[text] = UNREADABLE
        if problems:
            self.refuse_texts({index: problems[text] for index, text in self.asked if text in problems})

    def refuse_texts(self, problems: Mapping[int, str]) -> NoReturn:
        """Raises InvalidInput with what is wrong with texts of the request, by index."""
        raise InvalidInput(*((self.place(index), problem) for index, problem in problems.items()))

    def add(self, phase: str, seconds: float) -> None:
        """Adds to `phase`, one of PHASES."""
        self.phases_s[phase] = self.phases_s.get(phase, 0.0) + seconds

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """`headers`, and Server-Timing (W3C Server Timing) with durations in ms; none if nothing was done."""
        if not self.phases_s and not self.headers:
            return []
        timing = ", ".join(f"{name};dur={self.phases_s.get(name, 0.0) * 1e3:.2f}" for name in PHASES)
        return [(b"server-timing", timing.encode()), *self.headers]
