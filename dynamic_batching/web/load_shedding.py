"""What a full server refuses as soon as a request's header is there: no task, no body, no framework.

Under overload refusals outnumber answers, and what they cost is taken from inference on the same core.
An ASGI server that is not `GatedHttp` has no gate: there the endpoints refuse, with the same answers.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.protocols.utils import get_client_addr, get_path_with_query_string

from .batcher import Batcher
from .errors import InvalidInput, NotReady, error_answer
from .protocol import LimitedHttp
from .telemetry import Metrics, RequestClock, set_deadline

# The name under which an app's lifespan hands its gate to the connections.
GATE = "gate"


class Gate:
    """Asks the batcher of a request's path whether it takes any more; refusals count like all answers."""

    def __init__(
        self, batchers: Mapping[str, Callable[[], Batcher]], timeout_ms: float, metrics: Metrics
    ) -> None:
        """`batchers` gives each path's, or raises NotReady; `timeout_ms` is the server's own deadline."""
        self._batchers = batchers
        self._timeout_ms = timeout_ms
        self._metrics = metrics

    def batcher(self, scope: Mapping[str, Any]) -> Batcher | None:
        """Who is to answer the request of an HTTP `scope`, if that takes a batcher and there is one."""
        find = self._batchers.get(scope["path"])
        if find is None or scope["method"] != "POST":
            return None
        try:
            return find()
        except NotReady:
            return None

    def refusal(self, scope: Mapping[str, Any], batcher: Batcher) -> NotReady | None:
        """Why `batcher` does not take the request of an HTTP `scope`, or None: then the app is to see it."""
        clock = RequestClock()
        try:
            set_deadline(clock, first_value(scope["headers"], b"x-timeout-ms"), self._timeout_ms)
        except InvalidInput:
            return None
        refusal = batcher.refusal(clock, batcher.expected)
        if refusal is not None:
            self._metrics.received.inc()
            self._metrics.record(scope["path"], refusal.status, clock)
        return refusal


class GatedHttp(LimitedHttp):
    """A connection that answers with 503 what the app's gate refuses, and starts the app for the rest."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        gate: Gate | None = self.app_state.get(GATE)
        # Behind a pipelined request come more: refused one in the other's call they would nest too deep.
        batcher = None if gate is None or self.pipeline else gate.batcher(cycle.scope)
        if gate is None or batcher is None:
            super()._start_asgi_task(cycle, app)
        elif refusal := gate.refusal(cycle.scope, batcher):
            self._answer(cycle, refusal)
        else:
            super()._start_asgi_task(cycle, app)
            batcher.expect()

    def _answer(self, cycle: RequestResponseCycle, error: NotReady) -> None:
        """Writes what the app would have answered; the body, where one is yet to come, is passed over."""
        if cycle.access_log:
            cycle.access_logger.info(
                '%s - "%s %s HTTP/%s" %d',
                get_client_addr(cycle.scope),
                cycle.scope["method"],
                get_path_with_query_string(cycle.scope),
                cycle.scope["http_version"],
                error.status,
            )
        header, body = rendered(error.detail, error.retry_after_s)
        lines = [STATUS_LINE[error.status]]
        for name, value in cycle.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (header, b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def first_value(headers: list[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    for name, value in headers:
        if name == wanted:
            return value.decode("latin-1")
    return None


@lru_cache(maxsize=1_024)
def rendered(detail: str, retry_after_s: int) -> tuple[bytes, bytes]:
    """The header lines and the body of such an answer; the same few come again and again."""
    answer = error_answer(NotReady(detail, retry_after_s))
    return b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers), bytes(answer.body)
