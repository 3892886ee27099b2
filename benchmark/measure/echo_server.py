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


def answer(path: bytes, content: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request's content: a text is its own translation, and positive."""
    match path:
        case b"/translate":
            return {"translation": content["text"]}
        case b"/translate/batch":
            return {"translations": content["texts"]}
        case b"/sentiment":
            return _SENTIMENT
        case b"/sentiment/batch":
            return {"results": [_SENTIMENT] * len(content["texts"])}
    return {"status": "ready"}


async def answer_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1 as far as a load generator speaks it: kept connections, bodies with a Content-Length."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _CONTENT_LENGTH.search(head)
            received = await reader.readexactly(int(length[1])) if length else b"{}"
            body = json.dumps(answer(head.split(b" ", 2)[1], json.loads(received))).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver-timing: %s\r\n"
                b"content-length: %d\r\n\r\n%s" % (_TIMING, len(body), body)
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
