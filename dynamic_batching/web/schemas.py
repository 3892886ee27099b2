"""The bodies of the HTTP contract."""

from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from .telemetry import LONGEST_TIMEOUT_MS


class TextRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class TextsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    texts: list[str]


class TranslationRequest(TextRequest):
    num_beams: int = 1


class TranslationsRequest(TextsRequest):
    num_beams: int = 1


class Translation(BaseModel):
    translation: str


class Translations(BaseModel):
    translations: list[str]


class Sentiment(BaseModel):
    label: Literal["POSITIVE", "NEGATIVE"]
    score: float = Field(ge=0, le=1)


class Sentiments(BaseModel):
    results: list[Sentiment]


def answered(model: BaseModel) -> Response:
    """The 200 answer; its content is ours, so FastAPI need not validate it once more."""
    return Response(model.model_dump_json(), media_type="application/json")


class Problem(BaseModel):
    detail: str


class InputProblem(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class InputProblems(BaseModel):
    detail: list[InputProblem]


ERROR_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Not HTTP/1.1 as it should be"},
    408: {"model": Problem, "description": "The body did not arrive in time"},
    413: {"model": Problem, "description": "The body is larger than the limit"},
    422: {"model": InputProblems, "description": "Bad input; names the field and the limit"},
    431: {"model": Problem, "description": "The header is larger than the limit"},
    503: {"model": Problem, "description": "Not ready, draining, or the queue is full; see Retry-After"},
    504: {"model": Problem, "description": "The deadline passed"},
}


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI page needs to show a body and a header that no parameter of the endpoint reads."""
    return {
        "parameters": [
            {
                "in": "header",
                "name": "X-Timeout-Ms",
                "description": "Shortens the server's own deadline",
                "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_TIMEOUT_MS},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": kind.model_json_schema()}},
        },
    }
