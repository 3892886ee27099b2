"""The server's settings, read from GAP_* environment variables when the app is built."""

import os
from pathlib import Path

from pydantic import AliasChoices, Field, PositiveInt, RedisDsn, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "GAP_"


class Settings(BaseSettings):
    """Limits and sizes; each field is the variable of its name in capitals, after GAP_."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="what optimize_model.py wrote")
    max_text_chars: PositiveInt = Field(default=2_000, description="longest text, in characters")
    max_input_tokens: int = Field(default=256, ge=8, description="longest text, in the model's tokens")
    max_batch_texts: PositiveInt = Field(default=64, description="most texts in one batch request")
    max_num_beams: PositiveInt = Field(default=6, description="widest beam search that a request may ask for")
    max_body_bytes: PositiveInt = Field(default=2 << 20, description="largest request body")
    max_header_bytes: PositiveInt = Field(default=16 << 10, description="largest request line and headers")
    max_headers: PositiveInt = Field(default=64, description="most headers of a request")
    receive_timeout_ms: PositiveInt = Field(
        default=10_000, description="longest wait for a request's header, and then for its body"
    )
    timeout_ms: PositiveInt = Field(default=30_000, description="deadline of a request, from its arrival")
    threads: PositiveInt = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        description="inferences at once, each on one core; the cores this process may use unless given",
    )
    max_batch_tokens: PositiveInt = Field(
        default=2_048, description="a batch of more tokens than this is split"
    )
    redis_url: RedisDsn | None = Field(
        default=None,
        validation_alias=AliasChoices("GAP_REDIS_URL", "REDIS_URL"),
        description="the cache's server; no cache without it",
    )
    redis_timeout_ms: PositiveInt = Field(default=100, description="a slower answer of Redis is a miss")
    cache_ttl_s: PositiveInt = Field(default=86_400, description="how long an answer is kept")
    drain_timeout_ms: PositiveInt = Field(
        default=4_000, description="as it stops: how long requests under way may go on"
    )
    faults: Path | None = Field(default=None, description="for tests alone: a folder of faults to inject")


def read_settings() -> Settings:
    """The settings in the environment.

    Raises:
        SystemExit: a variable has a bad value; the text names it, the value and what was expected.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"error: {variable(str(item['loc'][0]))} has the value {item['input']!r}: {item['msg']}"
            for item in error.errors()
        ]
        raise SystemExit("\n".join(lines)) from None


def variable(field: str) -> str:
    """The environment variable of a field, or the name that a field goes by there."""
    return field if field.isupper() else f"{ENV_PREFIX}{field.upper()}"
