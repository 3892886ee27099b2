"""HTTP/1.1 from the socket within limits: how large a header may be, and how long a request may take to come.

httptools, uvicorn's fast parser, has no such limits. A request that comes in one piece starts no timer.
"""

import asyncio
import http
import json
from functools import cache

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .config import Settings, read_settings

# A body in the smallest chunks that clients send has about this many bytes on the wire for each of its own.
WIRE_BYTES_PER_BYTE = 4
BODY_HEADERS = (b"content-length", b"transfer-encoding")


class Refused(Exception):
    """Stops the parser; the answer is `LimitedHttp.refusal`."""


class DroppedTrailers(list[tuple[bytes, bytes]]):
    """Takes the place of a request's headers once they are complete: what follows a body is no header."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


@cache
def limits() -> Settings:
    return read_settings()


class LimitedHttp(HttpToolsProtocol):
    """A connection; refuses with 400, 408, 413 or 431 and JSON with `detail` what no endpoint gets to see."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limits = limits()
        self.refusal: tuple[int, str] | None = None
        self.in_header = False
        self.receiving = False
        self.begun = False
        self.wire_bytes = 0
        self.timer: asyncio.TimerHandle | None = None
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refusal is not None:
            return
        self.begun = False
        super().data_received(data)
        if self.refusal is None and self.receiving and not self.begun:
            self._bound(len(data))
        if self.refusal is None and self.timer is None and (self.receiving or self._idles_untimed()):
            self._start_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_header = self.receiving = self.begun = True
        self.wire_bytes = 0

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self.in_header = False
        if len(self.headers) > self.limits.max_headers:
            self.refusal = 431, f"A request should have at most {self.limits.max_headers} headers"
            raise Refused
        header_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if header_bytes > self.limits.max_header_bytes:
            self.refusal = 431, self._header_limit()
            raise Refused
        if self.parser.should_upgrade() and any(name in BODY_HEADERS for name, _ in self.headers):
            # The parser would take the body for the other protocol's bytes, and then for the next request.
            self.refusal = 400, "A request with a body should not ask for an upgrade"
            raise Refused
        super().on_headers_complete()
        self.headers = DroppedTrailers()

    def on_message_complete(self) -> None:
        self._stop_timer()
        self.receiving = False
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: who asks for another protocol is answered in this one."""

    def send_400_response(self, msg: str) -> None:
        self._refuse(*(self.refusal or (400, msg)))

    def _idles_untimed(self) -> bool:
        """Whether nothing is asked or answered with no timer on; bare line ends stop the server's own."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _bound(self, more_bytes: int) -> None:
        """Refuses the request under way, all of `more_bytes` its own, once it is too large.

        For bytes that the parser has seen: behind a request's end many more requests may come in one piece.
        """
        self.wire_bytes += more_bytes
        if self.in_header and self.wire_bytes > self.limits.max_header_bytes:
            self._refuse(431, self._header_limit())
        elif not self.in_header and self.wire_bytes > self.limits.max_body_bytes * WIRE_BYTES_PER_BYTE:
            self._refuse(413, f"The body should have at most {self.limits.max_body_bytes} bytes")

    def _header_limit(self) -> str:
        return f"The request line and headers should have at most {self.limits.max_header_bytes} bytes"

    def _start_timer(self) -> None:
        self.timer = self.loop.call_later(self.limits.receive_timeout_ms / 1e3, self._time_out)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _time_out(self) -> None:
        self.timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused or (
            self.receiving and not self.in_header and not self.cycle.response_complete
        ):
            # It is this side that does not read, or an endpoint reads the body, with a limit of its own.
            self._start_timer()
        elif self.in_header:
            self._refuse(408, f"The header should arrive within {self.limits.receive_timeout_ms} ms")
        else:
            self.transport.close()

    def _refuse(self, status: int, detail: str) -> None:
        """Answers and closes; where an earlier request is being answered, closes after that answer."""
        self.refusal = status, detail
        self._stop_timer()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            waits_for_body = cycle.more_body and not cycle.response_started and not self.pipeline
            if not waits_for_body:
                cycle.keep_alive = False
                return
        content = json.dumps({"detail": detail}).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
        lines += [name + b": " + value for name, value in headers]
        self.transport.write(b"\r\n".join([*lines, b"", content]))
        self.transport.close()
