"""The texts of requests within the server's limits, and the answers of the servers' own routes."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from .settings import HttpSettings


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


class ErrorText(BaseModel):
    error: str


class TextTypes(NamedTuple):
    """Types of fields: a text, texts, texts in lists of one each, and a number of beams."""

    one: Any
    many: Any
    rows: Any
    beams: Any


def at_least(least: int, most: int | None = None) -> Any:
    """The type of a whole number from `least` to `most`."""
    return Annotated[int, Field(strict=True, ge=least, le=most), BeforeValidator(whole_number)]


def text_types(settings: HttpSettings) -> TextTypes:
    """The types of fields within the limits of `settings`; what they refuse names the limit."""
    one = Annotated[str, Field(min_length=1, max_length=settings.max_text_chars), AfterValidator(readable)]
    at_most = Field(min_length=1, max_length=settings.max_batch_texts)
    beams = at_least(1, settings.max_num_beams)
    row = Annotated[list[one], Field(min_length=1, max_length=1)]
    return TextTypes(one, Annotated[list[one], at_most], Annotated[list[row], at_most], beams)


def readable(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text should hold more than white space")
    if "\0" in text:
        raise PydanticCustomError("nul", "Text should not hold NUL characters")
    return text


def whole_number(value: Any) -> Any:
    """To JSON Schema 4.0 is an integer, as it is to parsers that know one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def in_place(schema: Any, definitions: dict[str, Any] | None = None) -> Any:
    """A JSON schema with what it refers to in place: an OpenAPI document has its definitions elsewhere."""
    if isinstance(schema, dict):
        definitions = definitions or schema.get("$defs", {})
        if "$ref" in schema:
            return in_place(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {name: in_place(part, definitions) for name, part in schema.items() if name != "$defs"}
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [in_place(part, definitions) for part in schema]
    return schema
