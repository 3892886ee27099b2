"""The API of Hugging Face's text-embeddings-inference for classifiers: POST /predict, GET /info.

As in its OpenAPI document, https://huggingface.github.io/text-embeddings-inference/, and its router/src/http.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union

from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BaseModel, Discriminator, Field, StrictBool, Tag, create_model
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from ..engine import Classifier
from ..errors import InvalidInput, NotReady, Refusal, one_line
from ..operation import Operation, Query
from ..request_parsing import JSON, parse_json, require_json
from ..schemas import Sentiment, text_types
from ..settings import HttpSettings

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer"]


class Prediction(BaseModel):
    score: float
    label: str


class PredictError(BaseModel):
    error: str
    error_type: ErrorType


class Info(BaseModel):
    """What is known here of TEI's Info; `model_type` is as in {"classifier": {"id2label": ...}}."""

    model_id: str
    model_dtype: str
    model_type: dict[str, dict[str, dict[str, str | int]]]
    max_input_length: int
    max_client_batch_size: int
    auto_truncate: bool


def error_form(error: HTTPException) -> tuple[int, dict[str, Any]]:
    """The protocol's statuses: 413 for bad input of any kind, 429 for overload."""
    status, error_type = error.status_code, "Validation" if error.status_code < 500 else "Backend"
    if isinstance(error, InvalidInput):
        status = 413
    elif isinstance(error, NotReady):
        error_type = "Unhealthy"
    elif isinstance(error, Refusal):
        status, error_type = 429, "Overloaded"
    return status, {"error": one_line(error), "error_type": error_type}


class Predict(Operation):
    """The probabilities of both labels, the higher one first; of a batch a list of them."""

    task = "sentiment"
    error, bad_input = PredictError, (413, PredictError)
    error_form = staticmethod(error_form)
    answer = Union[list[Prediction], list[list[Prediction]]]  # noqa: UP007, a type as a value

    def __init__(self, settings: HttpSettings) -> None:
        types = text_types(settings)
        kinds = Annotated[types.one, Tag("<text>")], Annotated[types.rows, Tag("<batch>")]
        is_list = Discriminator(lambda inputs: "<batch>" if isinstance(inputs, list) else "<text>")
        never = Field(json_schema_extra={"const": False})
        fields: dict[str, Any] = {
            "inputs": Annotated[Union[kinds], is_list],  # noqa: UP007
            # A text is never cut: one that is too long is refused, whatever this says.
            "truncate": (StrictBool | None, False),
            "raw_scores": (Annotated[StrictBool, AfterValidator(refuse_raw_scores), never], False),
        }
        self._body = create_model("PredictRequest", **fields)

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        return {JSON: self._body.model_json_schema()}

    @property
    def errors(self) -> dict[int, tuple[Any, str]]:
        return {**super().errors, 429: (PredictError, "Overloaded; see Retry-After")}

    def parse(self, headers: Mapping[str, str], content: bytearray) -> Query:
        require_json(headers)
        body: Any = parse_json(self._body, content)
        inputs = body.inputs
        if isinstance(inputs, str):
            return Query([inputs], partial(self._write, batch=False), lambda index: ("body", "inputs"))
        texts = [text for (text,) in inputs]
        return Query(texts, partial(self._write, batch=True), lambda index: ("body", "inputs", index, 0))

    def _write(self, sentiments: list[Sentiment], batch: bool) -> Response:
        answers = [both_labels(sentiment) for sentiment in sentiments]
        return JSONResponse(answers if batch else answers[0])


def refuse_raw_scores(raw_scores: bool) -> bool:
    if raw_scores:
        raise PydanticCustomError("raw_scores", "Should be false: the engine gives probabilities alone")
    return raw_scores


def both_labels(sentiment: Sentiment) -> list[dict[str, Any]]:
    other = "NEGATIVE" if sentiment.label == "POSITIVE" else "POSITIVE"
    scores = {sentiment.label: sentiment.score, other: 1 - sentiment.score}
    return [{"score": score, "label": label} for label, score in scores.items()]


def info(classifier: Classifier, facts: Mapping[str, Any], max_texts: int) -> Info:
    """Of a classifier, with what the manifest says of it."""
    labels = classifier.labels
    origin = PurePath(facts.get("origin", ""))
    id2label: dict[str, str | int] = {str(index): label for index, label in enumerate(labels)}
    label2id: dict[str, str | int] = {label: index for index, label in enumerate(labels)}
    return Info(
        # Of a model from somebody's disk the name, not the place.
        model_id=origin.name if origin.is_absolute() else str(origin),
        model_dtype="int8" if "INT8" in facts.get("format", "") else "float32",
        model_type={"classifier": {"id2label": id2label, "label2id": label2id}},
        max_input_length=classifier.max_input_tokens,
        max_client_batch_size=max_texts,
        auto_truncate=False,
    )
