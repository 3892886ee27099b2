"""A stub of a server for the demo's load: answers at once, and notes what it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.measure.processes import ProcessFailed

TIMING = "tokenize;dur=0.25, queue;dur=1.50, inference;dur=7.00"


@dataclass
class StubServer:
    """What the demo knows of a server; `answer` and `status` are of every answer, `held` keeps it back."""

    name: str = "baseline"
    answer: dict[str, Any] = field(default_factory=lambda: {"translation": "Ja."})
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    url: str = "http://127.0.0.1:1"
    error: str = ""
    trace_path: Path | None = None
    texts: list[str] = field(default_factory=list)
    pending: int = 0
    most_pending: int = 0
    held: asyncio.Event | None = None

    def check(self) -> None:
        if self.error:
            raise ProcessFailed(self.error)

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "title": self.name, "url": self.url, "error": self.error}

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["StubServer"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].split("\r\n")[0])
                self.texts.append(json.loads(await reader.readexactly(length))["text"])
                self.pending += 1
                self.most_pending = max(self.most_pending, self.pending)
                # The other users get to send before this one is answered.
                await asyncio.sleep(0.001)
                if self.held is not None:
                    await self.held.wait()
                self.pending -= 1
                writer.write(self._response())
        except asyncio.IncompleteReadError:
            writer.close()

    def _response(self) -> bytes:
        content = json.dumps(self.answer).encode()
        fields = {"content-length": str(len(content)), **self.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.1 {self.status} Any\r\n{lines}\r\n".encode() + content
