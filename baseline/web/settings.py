"""The settings of the HTTP contract, the same for all servers; a folder's config.py adds its own."""

import os
from pathlib import Path
from typing import TypeVar

from pydantic import AliasChoices, Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "GAP_"
MASK = "***"


class HttpSettings(BaseSettings):
    """Limits and sizes; each field is the environment variable of its name in capitals, after GAP_.

    An empty variable is one that is not set.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="folder of prepared models")
    max_text_chars: PositiveInt = Field(default=5_000, description="characters of a text, at most")
    max_input_tokens: int = Field(default=256, ge=8, description="tokens of a sentence or review, at most")
    max_batch_texts: PositiveInt = Field(default=64, description="texts of a batch request, at most")
    max_num_beams: PositiveInt = Field(default=6, description="beams that a request may ask for")
    max_body_bytes: PositiveInt = Field(default=2 << 20, description="size of a request body, at most")
    max_header_bytes: PositiveInt = Field(
        default=16 << 10, description="size of request line and headers, at most"
    )
    max_headers: PositiveInt = Field(default=64, description="headers of a request, at most")
    receive_timeout_ms: PositiveInt = Field(
        default=10_000, description="time for the header to arrive, then for the body"
    )
    timeout_ms: PositiveInt = Field(default=30_000, description="time from a request's arrival to its answer")
    drain_timeout_ms: PositiveInt = Field(
        default=4_000, description="time for running requests to end at shutdown"
    )
    faults: Path | None = Field(default=None, description="folder of faults to inject; for tests")


AnySettings = TypeVar("AnySettings", bound=HttpSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """The settings in the environment; SystemExit names a bad variable, its value and what was expected."""
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            variable, meaning = find_variable(kind, str(problem["loc"][0]))
            value = repr(masked(str(problem["input"])))
            lines.append(f"error: {variable} has the value {value}: {problem['msg']} ({meaning})")
        raise SystemExit("\n".join(lines)) from None


def find_variable(kind: type[HttpSettings], name: str) -> tuple[str, str | None]:
    """The variable that a setting was read from, by its field's name or first alias, and its description."""
    given = {variable.upper() for variable, value in os.environ.items() if value}
    for field_name, field in kind.model_fields.items():
        alias = field.validation_alias
        variables = [f"{ENV_PREFIX}{field_name.upper()}"]
        if isinstance(alias, AliasChoices):
            variables = [str(choice) for choice in alias.choices]
        if name in (field_name, variables[0]):
            return next(filter(given.__contains__, variables), variables[0]), field.description
    return name, None


def masked(text: str) -> str:
    """A URL, or an error's text, without what may be a password in it: user, options, a command's arguments.

    It need not be well formed, so that it can be named in an error.
    """
    text = text.partition(", with args beginning with")[0]
    scheme, separator, rest = text.partition("://")
    if not scheme.isalpha():
        scheme, separator, rest = "", "", text
    user, at, place = rest.rpartition("@")
    place, mark, _ = place.partition("?")
    if "?" in user:  # a password with it, or options with an @
        return f"{scheme}{separator}{MASK}"
    return f"{scheme}{separator}{at and MASK + at}{place}{mark and mark + MASK}"
