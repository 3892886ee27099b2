"""BentoML: adaptive batching of a batchable method, which takes and gives lists.

Start: bentoml serve server:Inference, with the environment of peers/servers/settings.py.
"""

import json
from typing import Annotated, Any

import bentoml
from pydantic import BeforeValidator

from peers.servers.inference import Answer, load_engine
from peers.servers.settings import PeerSettings

TIMEOUT_S = 600
settings = PeerSettings()  # type: ignore[call-arg]
# A body of the contract holds one text, a batchable method takes a list: one text is a batch of one.
Texts = Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


class FirstOfList:
    """ASGI middleware: the answer to a batch of one, `[answer]`, becomes `answer`."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != settings.route:
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] = {}
        body = b""

        async def send_unwrapped(message: dict[str, Any]) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                start.update(message)
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            content = json.loads(body) if start["status"] == 200 else None
            answer = json.dumps(content[0]).encode() if content else body
            headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
            start["headers"] = [*headers, (b"content-length", str(len(answer)).encode())]
            await send(start)
            await send({"type": "http.response.body", "body": answer})

        await self.app(scope, receive, send_unwrapped)


@bentoml.service(workers=1, traffic={"timeout": TIMEOUT_S}, metrics={"enabled": False})
class Inference:
    """One process with the model and the HTTP server."""

    def __init__(self) -> None:
        self.engine = load_engine(settings)

    @bentoml.api(
        route=settings.route,
        batchable=True,
        max_batch_size=settings.max_batch_size,
        max_latency_ms=TIMEOUT_S * 1000,
    )
    def infer(self, text: Texts) -> list[dict[str, Any]]:
        answers: list[Answer] = self.engine(list(text))
        return answers


Inference.add_asgi_middleware(FirstOfList)
