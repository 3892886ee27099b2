"""The operations of the HTTP contract: bodies within the server's limits, answers, and errors."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from .settings import HttpSettings

MAX_TIMEOUT_MS = 86_400_000


class Translation(BaseModel):
    translation: str


class Translations(BaseModel):
    translations: list[str]


class Sentiment(BaseModel):
    label: Literal["POSITIVE", "NEGATIVE"]
    score: float = Field(ge=0, le=1)


class Sentiments(BaseModel):
    results: list[Sentiment]


class Problem(BaseModel):
    detail: str


class InputProblems(BaseModel):
    class Detail(BaseModel):
        loc: list[str | int]
        msg: str
        type: str

    detail: list[Detail]


class Operation(NamedTuple):
    """A POST of `body`, answered with `answer`, in which `field` holds what the engine gives, if not all."""

    task: str
    batch: bool
    body: type[BaseModel]
    answer: type[BaseModel]
    field: str | None


def operations(settings: HttpSettings) -> dict[str, Operation]:
    """The operations by path."""
    one = Annotated[str, Field(min_length=1, max_length=settings.max_text_chars), AfterValidator(readable)]
    many = Annotated[list[one], Field(min_length=1, max_length=settings.max_batch_texts)]
    beams = Annotated[int, Field(strict=True, ge=1, le=settings.max_num_beams), BeforeValidator(whole_number)]

    def body(name: str, **fields: Any) -> type[BaseModel]:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)

    text, texts = body("TextRequest", text=one), body("TextsRequest", texts=many)
    translation = body("TranslationRequest", text=one, num_beams=(beams, 1))
    translations = body("TranslationsRequest", texts=many, num_beams=(beams, 1))
    return {
        "/translate": Operation("translation", False, translation, Translation, "translation"),
        "/translate/batch": Operation("translation", True, translations, Translations, "translations"),
        "/sentiment": Operation("sentiment", False, text, Sentiment, None),
        "/sentiment/batch": Operation("sentiment", True, texts, Sentiments, "results"),
    }


def readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text should hold more than white space")
    if "\0" in text:
        raise PydanticCustomError("nul", "Text should not hold NUL characters")
    return text


def whole_number(value: Any) -> Any:
    """To JSON Schema 4.0 is an integer, as it is to parsers that know one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


ERROR_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Not HTTP/1.1 as it should be"},
    408: {"model": Problem, "description": "The body did not arrive in time"},
    413: {"model": Problem, "description": "The body is larger than the limit"},
    422: {"model": InputProblems, "description": "Bad input; names the field and the limit"},
    431: {"model": Problem, "description": "The header is larger than the limit"},
    503: {"model": Problem, "description": "Not ready, or cannot take the request now; see Retry-After"},
    504: {"model": Problem, "description": "The deadline passed"},
}


def openapi_request(body: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI page needs to show a body and a header that no parameter of the endpoint reads."""
    timeout_ms = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS}
    content = {"application/json": {"schema": body.model_json_schema()}}
    return {
        "parameters": [{"in": "header", "name": "X-Timeout-Ms", "schema": timeout_ms}],
        "requestBody": {"required": True, "content": content},
    }
