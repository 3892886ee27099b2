"""One TCP connection that sends arbitrary bytes and keeps everything that comes back."""

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

import h11

READ_BYTES = 65_536
CLOSED = "closed without a complete response"


class NoResponse(Exception):
    """The server sent no complete HTTP response; the text is the reason."""


@dataclass(frozen=True)
class Response:
    """One HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection:
    """A socket; `ended` is whether the server is known to have closed it."""

    def __init__(self) -> None:
        self.ended = False
        self.last_used_s = 0.0
        self._unread = b""
        self._socket = socket.socket()
        self._socket.setblocking(False)

    @classmethod
    async def open(cls, host: str | None, port: int | None) -> "Connection":
        """Raises OSError where nothing listens."""
        connection = cls()
        await asyncio.get_running_loop().sock_connect(connection._socket, (host, port))
        return connection

    async def send(self, data: bytes) -> None:
        """Data that the server no longer accepts is dropped."""
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def half_close(self) -> None:
        """Closes the sending direction only."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, reset: bool = False) -> None:
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def take(self) -> bytes:
        """Bytes that have arrived and were not read, without waiting."""
        data, self._unread = self._unread, b""
        try:
            received = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return data
        except ConnectionError:
            received = b""
        self.ended = not received
        return data + received

    def has_response(self) -> bool:
        """Whether the server has sent anything or closed."""
        self._unread = self.take()
        return self.ended or bool(self._unread)

    async def read(self) -> bytes:
        """The next bytes to arrive; empty where the server has closed."""
        if not self.has_response():
            with contextlib.suppress(ConnectionError):
                self._unread = await asyncio.get_running_loop().sock_recv(self._socket, READ_BYTES)
        return self.take()

    async def response(self) -> Response:
        """The next response; bytes after it stay unread. Raises NoResponse."""
        parser = h11.Connection(h11.CLIENT)
        # The parser expects a request first, whatever was sent.
        parser.send(h11.Request(method="GET", target="/", headers=[("Host", "chaos")]))
        parser.send(h11.EndOfMessage())
        status, headers, body, data = 0, dict[str, str](), b"", b""
        try:
            while not isinstance(event := parser.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    data = await self.read()
                    parser.receive_data(data)
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    body += event.data
        except h11.RemoteProtocolError as error:
            raise NoResponse(f"invalid response: {error}" if data else CLOSED) from None
        self._unread = parser.trailing_data[0] + self._unread
        return Response(status, headers, body)
