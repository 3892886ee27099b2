"""Answers every request of the HTTP contract at once: what is measured against it is the load generator.

`python -m benchmark.measure.echo_server --port 8000`. No framework: it must cost less than the client does.
"""

import argparse
import asyncio
import contextlib
import json
import re
from typing import Any

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_SENTIMENT = {"label": "POSITIVE", "score": 0.5}
_TIMING = b"tokenize;dur=0.0, queue;dur=0.0, inference;dur=0.0"


def answer(path: bytes, body: bytes) -> tuple[bytes, dict[str, Any]]:
    """Status line and content for a request: a text is its own translation, and positive."""
    content = json.loads(body) if body else {}
    match path:
        case b"/translate":
            return b"200 OK", {"translation": content["text"]}
        case b"/translate/batch":
            return b"200 OK", {"translations": content["texts"]}
        case b"/sentiment":
            return b"200 OK", _SENTIMENT
        case b"/sentiment/batch":
            return b"200 OK", {"results": [_SENTIMENT] * len(content["texts"])}
        case b"/ready":
            return b"200 OK", {"status": "ready"}
    return b"404 Not Found", {"detail": "Not Found"}


async def answer_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1 as far as a load generator speaks it: kept connections, bodies with a Content-Length."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _CONTENT_LENGTH.search(head)
            request_body = await reader.readexactly(int(length[1]) if length else 0)
            status, content = answer(head.split(b" ", 2)[1], request_body)
            body = json.dumps(content).encode()
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nserver-timing: %s\r\n"
                b"content-length: %d\r\n\r\n%s" % (status, _TIMING, len(body), body)
            )


async def serve(port: int) -> None:
    """Answers on the loopback `port` until cancelled."""
    server = await asyncio.start_server(answer_connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    # It is started as the real servers are, whose other options mean nothing to it.
    options, _ = parser.parse_known_args()
    asyncio.run(serve(options.port))


if __name__ == "__main__":
    main()
