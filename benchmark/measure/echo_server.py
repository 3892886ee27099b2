"""Answers every request of the HTTP contract at once: what is measured against it is the load generator.

`python -m benchmark.measure.echo_server --port 8000`. No framework: it must cost less than the client does.
"""

import argparse
import asyncio
import json
import re
from typing import Any

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_SENTIMENT = {"label": "POSITIVE", "score": 0.5}
_TIMING = b"tokenize;dur=0.0, queue;dur=0.0, inference;dur=0.0"


def answer(path: str, body: bytes) -> tuple[bytes, dict[str, Any]]:
    """Status line and content for a request: a text is its own translation, and positive."""
    content = json.loads(body) if body else {}
    match path:
        case "/translate":
            return b"200 OK", {"translation": content["text"]}
        case "/translate/batch":
            return b"200 OK", {"translations": content["texts"]}
        case "/sentiment":
            return b"200 OK", _SENTIMENT
        case "/sentiment/batch":
            return b"200 OK", {"results": [_SENTIMENT] * len(content["texts"])}
        case "/ready":
            return b"200 OK", {"status": "ready"}
    return b"404 Not Found", {"detail": "Not Found"}


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
            length = _CONTENT_LENGTH.search(head)
            body_start = head_end + len(_END_OF_HEAD)
            end = body_start + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            path = head.split(b" ", 2)[1].decode("latin-1")
            status, content = answer(path, self._received[body_start:end])
            body = json.dumps(content).encode()
            self._received = self._received[end:]
            self._transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nserver-timing: %s\r\n"
                b"content-length: %d\r\n\r\n%s" % (status, _TIMING, len(body), body)
            )


async def serve(port: int) -> None:
    """Answers on the loopback `port` until cancelled."""
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    # It is started as the real servers are, whose other options mean nothing to it.
    options, _ = parser.parse_known_args()
    asyncio.run(serve(options.port))


if __name__ == "__main__":
    main()
