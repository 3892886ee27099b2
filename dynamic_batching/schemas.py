"""The bodies of the HTTP contract, and the reading of a request's body within its limits."""

from typing import Annotated, Any, Literal, TypeVar

from fastapi import Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect

from .config import Settings, widest_beam
from .errors import BodyTooLarge, Disconnected, InvalidInput

Body = TypeVar("Body", bound=BaseModel)


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
    413: {"model": Problem, "description": "The body is larger than the limit"},
    422: {"model": InputProblems, "description": "Bad input; names the field and the limit"},
    503: {"model": Problem, "description": "Not ready, draining, or the queue is full; see Retry-After"},
    504: {"model": Problem, "description": "The deadline passed"},
}


def readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text should hold more than white space")
    if "\0" in text:
        raise PydanticCustomError("nul", "Text should not hold NUL characters")
    return text


class BodyReader:
    """Reads bodies within the limits of `settings`; its dependencies go into the endpoints."""

    def __init__(self, settings: Settings) -> None:
        text = Annotated[
            str, Field(min_length=1, max_length=settings.max_text_chars), AfterValidator(readable)
        ]
        texts = Annotated[list[text], Field(min_length=1, max_length=settings.max_batch_texts)]
        self.max_body_bytes = settings.max_body_bytes
        self.text: type[TextRequest] = create_model("TextRequest", __base__=TextRequest, text=(text, ...))
        self.texts: type[TextsRequest] = create_model(
            "TextsRequest", __base__=TextsRequest, texts=(texts, ...)
        )
        num_beams = Annotated[int, Field(strict=True, ge=1, le=widest_beam(settings))]
        self.translation: type[TranslationRequest] = create_model(
            "TranslationRequest", __base__=TranslationRequest, text=(text, ...), num_beams=(num_beams, 1)
        )
        self.translations: type[TranslationsRequest] = create_model(
            "TranslationsRequest", __base__=TranslationsRequest, texts=(texts, ...), num_beams=(num_beams, 1)
        )

    async def read(self, request: Request, kind: type[Body]) -> Body:
        """The request's JSON body as `kind`.

        Raises:
            InvalidInput: the content type, the JSON, a field's type or a limit is wrong.
            BodyTooLarge: there are more than `max_body_bytes` bytes.
            Disconnected: the client hung up before the end of the body.
        """
        media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise InvalidInput((["header", "content-type"], "Content type should be application/json"))
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self.max_body_bytes:
                    raise BodyTooLarge(
                        f"The body should have at most {self.max_body_bytes} bytes", {"Connection": "close"}
                    )
        except ClientDisconnect:
            raise Disconnected("the client hung up before its body was whole") from None
        try:
            return kind.model_validate_json(bytes(body))
        except ValidationError as error:
            raise InvalidInput(
                *((["body", *item["loc"]], item["msg"]) for item in error.errors(include_input=False))
            ) from None


async def text_body(request: Request) -> TextRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.text)


async def texts_body(request: Request) -> TextsRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.texts)


async def translation_body(request: Request) -> TranslationRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.translation)


async def translations_body(request: Request) -> TranslationsRequest:
    reader: BodyReader = request.app.state.bodies
    return await reader.read(request, reader.translations)


def described(kind: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI page needs to show a body that a dependency reads."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": kind.model_json_schema()}},
        }
    }
