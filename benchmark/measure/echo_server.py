"""Answers every request of the HTTP contract at once: what is measured against it is the client.

`python -m benchmark.measure.echo_server --port 8000`. No framework: it must cost less than the client does.
"""

import argparse
import asyncio
import json
import re
from typing import Any

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_SENTIMENT = {"label": "POSITIVE", "score": 0.5}
_TIMING = b"tokenize;dur=0.0, queue;dur=0.0, inference;dur=0.0"


def answer(path: str, body: bytes) -> dict[str, Any] | None:
    """What the contract asks for on `path`: a text is its own translation, and positive; None elsewhere."""
    asked = json.loads(body) if body else {}
    match path:
        case "/translate":
            return {"translation": asked["text"]}
        case "/translate/batch":
            return {"translations": asked["texts"]}
        case "/sentiment":
            return _SENTIMENT
        case "/sentiment/batch":
            return {"results": [_SENTIMENT] * len(asked["texts"])}
        case "/ready":
            return {"status": "ready"}
    return None


class EchoProtocol(asyncio.Protocol):
    """HTTP/1.1 as far as a load generator speaks it: kept connections, bodies with a Content-Length."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(_END_OF_HEAD)) >= 0:
            head = self._received[:head_end]
            length = _LENGTH.search(head)
            body_start = head_end + len(_END_OF_HEAD)
            end = body_start + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            path = head.split(b" ", 2)[1].decode("latin-1")
            found = answer(path, self._received[body_start:end])
            content = json.dumps({"detail": "Not Found"} if found is None else found).encode()
            self._received = self._received[end:]
            self._transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nserver-timing: %s\r\n"
                b"content-length: %d\r\n\r\n%s"
                % (b"404 Not Found" if found is None else b"200 OK", _TIMING, len(content), content)
            )


async def serve(port: int) -> None:
    """Answers on the loopback `port` until cancelled."""
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
