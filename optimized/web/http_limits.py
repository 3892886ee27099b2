"""HTTP/1.1 from the socket within limits: how large a header may be, and how long a request may take to come.

By hand, since uvicorn and its parser have no such limits. A request that comes in one piece starts no timer.
"""

import asyncio
from collections.abc import Mapping

from httptools import HttpParserError
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .settings import HttpSettings

# A body in the smallest chunks that clients send has about this many bytes on the wire for each of its own.
WIRE_BYTES_PER_BYTE = 4
BODY_HEADERS = b"content-length", b"transfer-encoding"


class LimitedHttp(HttpToolsProtocol):
    """A connection; refuses with 400, 408, 413 or 431 and JSON with `detail` what no endpoint gets to see."""

    refused = False
    in_header = receiving = begun = False
    wire_bytes = 0
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.limits: HttpSettings = self.app_state["service"].engine.settings
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.begun = False
        super().data_received(data)
        # Once the parser has seen them: behind a request's end many more requests may come in one piece.
        if self.receiving and not self.begun:
            self.wire_bytes += len(data)
            if self.in_header and self.wire_bytes > self.limits.max_header_bytes:
                self._refuse_header()
            elif not self.in_header and self.wire_bytes > self.limits.max_body_bytes * WIRE_BYTES_PER_BYTE:
                self._refuse(413, f"The body should have at most {self.limits.max_body_bytes} bytes")
        # Bare line ends stop the server's own timer of a connection on which nothing is asked or answered.
        idle = (self.cycle is None or self.cycle.response_complete) and self.timeout_keep_alive_task is None
        if not self.refused and self.timer is None and (self.receiving or idle):
            self._start_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_header = self.receiving = self.begun = True
        self.wire_bytes = 0

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if len(self.headers) > self.limits.max_headers:
            self._refuse(431, f"A request should have at most {self.limits.max_headers} headers")
        elif len(self.url) + sum(len(k) + len(v) for k, v in self.headers) > self.limits.max_header_bytes:
            self._refuse_header()
        elif self.parser.should_upgrade() and any(name in BODY_HEADERS for name, _ in self.headers):
            # The parser would take the body for the other protocol's bytes, and then for the next request.
            self._refuse(400, "A request with a body should not ask for an upgrade")
        if self.refused:
            raise HttpParserError  # stops the parser
        self.in_header = False
        super().on_headers_complete()
        # What follows a body is no header.
        self.headers = []

    def on_message_complete(self) -> None:
        self._stop_timer()
        self.receiving = False
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: who asks for another protocol is answered in this one."""

    def send_400_response(self, msg: str) -> None:
        if not self.refused:
            self._refuse(400, msg)

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
        in_body = self.receiving and not self.in_header and not self.cycle.response_complete
        if self.flow.read_paused or in_body:
            # It is this side that does not read, or an endpoint reads the body, with a limit of its own.
            self._start_timer()
        elif self.in_header:
            self._refuse(408, f"The header should arrive within {self.limits.receive_timeout_ms} ms")
        else:
            self.transport.close()

    def _refuse_header(self) -> None:
        limit = self.limits.max_header_bytes
        self._refuse(431, f"The request line and headers should have at most {limit} bytes")

    def _refuse(self, status: int, detail: str) -> None:
        """Answers and closes; where an earlier request is being answered, closes after that answer."""
        self.refused = True
        self._stop_timer()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            waits_for_body = cycle.more_body and not cycle.response_started and not self.pipeline
            if not waits_for_body:
                cycle.keep_alive = False
                return
        self.write_error(status, {"detail": detail}, {}, close=True)

    def write_error(self, status: int, error: object, headers: Mapping[str, str], close: bool) -> None:
        """Writes what the app would answer, without it; `close` ends the connection then."""
        content = to_json(error)
        head = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content)
        lines = [STATUS_LINE[status], head]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines += (f"{name.lower()}: {value}\r\n".encode() for name, value in headers.items())
        lines += (b"connection: close\r\n\r\n" if close else b"\r\n", content)
        self.transport.write(b"".join(lines))
        if close:
            self.transport.close()
