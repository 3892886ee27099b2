"""The settings of the HTTP contract, the same for all servers; a folder's config.py adds its own."""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "GAP_"


class HttpSettings(BaseSettings):
    """Limits and sizes; each field is the environment variable of its name in capitals, after GAP_."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="what optimize_model.py wrote")
    max_text_chars: PositiveInt = Field(default=5_000, description="longest text, in characters")
    max_input_tokens: int = Field(default=256, ge=8, description="longest sentence or review, in tokens")
    max_batch_texts: PositiveInt = Field(default=64, description="most texts in one batch request")
    max_num_beams: PositiveInt = Field(default=6, description="widest beam search that a request may ask for")
    max_body_bytes: PositiveInt = Field(default=2 << 20, description="largest request body")
    max_header_bytes: PositiveInt = Field(default=16 << 10, description="largest request line and headers")
    max_headers: PositiveInt = Field(default=64, description="most headers of a request")
    receive_timeout_ms: PositiveInt = Field(default=10_000, description="longest wait for header, then body")
    timeout_ms: PositiveInt = Field(default=30_000, description="deadline of a request, from its arrival")
    drain_timeout_ms: PositiveInt = Field(default=4_000, description="how long requests go on at a stop")
    faults: Path | None = Field(default=None, description="for tests alone: a folder of faults to inject")


AnySettings = TypeVar("AnySettings", bound=HttpSettings)


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """The settings in the environment; SystemExit names a bad variable, its value and what was expected."""
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            field = str(problem["loc"][0])
            variable = field if field.isupper() else f"{ENV_PREFIX}{field.upper()}"
            lines.append(f"error: {variable} has the value {problem['input']!r}: {problem['msg']}")
        raise SystemExit("\n".join(lines)) from None
