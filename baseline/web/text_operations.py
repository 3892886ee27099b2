"""The servers' own routes: a text, or a batch of texts, as JSON.

/translate, /translate/batch, /sentiment, /sentiment/batch.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import to_json

from .operation import Operation, Query
from .request_parsing import JSON, parse_json, require_json
from .schemas import Sentiment, Sentiments, Translation, Translations, text_types
from .settings import HttpSettings


class TextOperation(Operation):
    """A POST of one text to `task`, answered with `answer`; `field` of that is the engine's, or all of it."""

    def __init__(self, task: str, body: type[BaseModel], answer: type[BaseModel], field: str | None) -> None:
        self.task, self.answer = task, answer
        self._body, self._field = body, field

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        return {JSON: self._body.model_json_schema()}

    def parse(self, headers: Mapping[str, str], content: bytearray) -> Query:
        require_json(headers)
        body: Any = parse_json(self._body, content)
        num_beams = body.num_beams if self.task == "translation" else 1
        return Query(self.texts(body), self.write, self.place, num_beams)

    def texts(self, body: Any) -> list[str]:
        return [body.text]

    def place(self, index: int) -> tuple[str | int, ...]:
        return ("body", "text")

    def write(self, answers: list[Any]) -> Response:
        return self._json(answers[0])

    def _json(self, answer: Any) -> Response:
        content = to_json({self._field: answer} if self._field else answer)
        return Response(content, media_type=JSON)


class BatchOperation(TextOperation):
    """A POST of several texts."""

    def texts(self, body: Any) -> list[str]:
        return body.texts

    def place(self, index: int) -> tuple[str | int, ...]:
        return ("body", "texts", index)

    def write(self, answers: list[Any]) -> Response:
        return self._json(answers)


def text_operations(settings: HttpSettings) -> dict[str, Operation]:
    """The operations by path."""
    types = text_types(settings)

    def body(name: str, **fields: Any) -> type[BaseModel]:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)

    text, texts = body("TextRequest", text=types.one), body("TextsRequest", texts=types.many)
    translation = body("TranslationRequest", text=types.one, num_beams=(types.beams, 1))
    translations = body("TranslationsRequest", texts=types.many, num_beams=(types.beams, 1))
    return {
        "/translate": TextOperation("translation", translation, Translation, "translation"),
        "/translate/batch": BatchOperation("translation", translations, Translations, "translations"),
        "/sentiment": TextOperation("sentiment", text, Sentiment, None),
        "/sentiment/batch": BatchOperation("sentiment", texts, Sentiments, "results"),
    }
