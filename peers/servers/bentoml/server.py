"""BentoML: adaptive batching of a batchable method, which takes and gives lists.

Start: bentoml serve server:Inference, with the environment of peers/servers/settings.py. A body of the
contract holds one text: it is read as a batch of one, and of the batch's answers the first is written.
"""

import json
from typing import Any

import bentoml
from starlette.requests import Request
from starlette.responses import Response

from peers.servers.inference import Answer, load_engine
from peers.servers.settings import PeerSettings

TIMEOUT_S = 600
settings = PeerSettings()  # type: ignore[call-arg]


class Text(bentoml.IODescriptor):
    texts: list[str]

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> "Text":
        return cls(texts=[json.loads(await request.body())["text"]])


class FirstAnswer(bentoml.IODescriptor):
    @classmethod
    async def to_http_response(cls, obj: list[Answer], serde: Any) -> Response:
        return Response(json.dumps(obj[0]), media_type="application/json")


@bentoml.service(
    workers=1,
    traffic={"timeout": TIMEOUT_S},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Inference:
    """One process with the model and the HTTP server."""

    def __init__(self) -> None:
        self.engine = load_engine(settings)

    @bentoml.api(
        route=settings.route,
        batchable=True,
        max_batch_size=settings.max_batch_size,
        max_latency_ms=TIMEOUT_S * 1000,
        input_spec=Text,
        output_spec=FirstAnswer,
    )
    def infer(self, texts: list[str]) -> list[dict[str, Any]]:
        return self.engine(list(texts))
