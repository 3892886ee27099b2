"""One TCP connection to a server, byte by byte: what no HTTP client would send, and all that comes back."""

import asyncio
import http.client
import io
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection(asyncio.Protocol):
    """Bytes in `received` that no answer has taken are a surplus: an answer that nobody asked for."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended = False
        self.last_used_s = 0.0
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Raises OSError where nobody listens."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> None:
        self.ended = True
        self._changed.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Hands bytes to the socket; what a server does not take any more is dropped."""
        if not self._transport.is_closing():
            self._transport.write(data)
            await self._writable.wait()

    def half_close(self) -> None:
        """Says that nothing more will be sent, and goes on reading."""
        if not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        self._transport.close()

    def reset(self) -> None:
        """Closes with a TCP reset in place of an orderly end."""
        opened = self._transport.get_extra_info("socket")
        if opened is not None and not self._transport.is_closing():
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def answer(self, timeout_s: float) -> Answer | None:
        """The next whole answer; None if the server closed without one. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while (found := self._take()) is None and not self.ended:
                self._changed.clear()
                await self._changed.wait()
        return found

    async def first_bytes(self, timeout_s: float) -> None:
        """Returns once anything has come, or the connection has ended. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not self.received and not self.ended:
                self._changed.clear()
                await self._changed.wait()

    def _take(self) -> Answer | None:
        if b"\r\n\r\n" not in self.received:
            return None
        stream = _Stream(self.received)
        answer = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
        answer.begin()
        if answer.length is None and not answer.chunked and not self.ended:
            # Its end is the connection's.
            return None
        try:
            body = answer.read()
        except http.client.IncompleteRead:
            return None
        del self.received[: stream.tell()]
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)


class _Stream(io.BytesIO):
    """What http.client takes for a socket; it stays open, so that its position can be asked."""

    def makefile(self, mode: str) -> "_Stream":
        return self

    def close(self) -> None:
        pass
