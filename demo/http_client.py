"""The part of an HTTP/1.1 client that asking a server on loopback takes; requests wait for their answers.

A general client costs more CPU time a request, and the load generator must not be what limits the servers.
"""

import asyncio
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

HEAD_END = b"\r\n\r\n"


class NoAnswer(Exception):
    """The connection ended without a complete HTTP response."""


@dataclass(frozen=True)
class Answer:
    """One HTTP response; header names in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes


class Connection:
    """A kept connection to one server; a context manager that closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, url: str) -> Self:
        """Raises NoAnswer where nothing listens."""
        address = urlsplit(url)
        try:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError as error:
            raise NoAnswer(str(error)) from None
        return cls(reader, writer, address.netloc)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, path: str, body: str) -> Answer:
        """Sends a JSON body and returns the answer; NoAnswer where there is no complete one."""
        content = body.encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        try:
            status_line, *lines = (await self._reader.readuntil(HEAD_END)).decode("latin-1").split("\r\n")
            fields = (line.partition(":") for line in lines if line)
            headers = {name.lower(): value.strip() for name, _, value in fields}
            received = await self._reader.readexactly(int(headers["content-length"]))
            return Answer(int(status_line.split()[1]), headers, received)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from None
        except (LookupError, ValueError, asyncio.LimitOverrunError) as error:
            raise NoAnswer(f"invalid response: {error}") from None
