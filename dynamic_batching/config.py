"""The server's settings, read from GAP_* environment variables when the app is built."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "GAP_"


class Settings(BaseSettings):
    """Limits and sizes; each field is the variable of its name in capitals, after GAP_."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    models_dir: Path = Field(default=Path("models"), description="what optimize_model.py wrote")
    max_text_chars: PositiveInt = Field(default=2_000, description="longest text, in characters")
    max_input_tokens: int = Field(default=256, ge=8, description="longest text, in the model's tokens")
    max_batch_texts: PositiveInt = Field(default=64, description="most texts in one batch request")
    max_body_bytes: PositiveInt = Field(default=2 << 20, description="largest request body")
    max_header_bytes: PositiveInt = Field(default=16 << 10, description="largest request line and headers")
    max_headers: PositiveInt = Field(default=64, description="most headers of a request")
    receive_timeout_ms: PositiveInt = Field(
        default=10_000, description="longest wait for a request's header, and then for its body"
    )
    timeout_ms: PositiveInt = Field(default=30_000, description="deadline of a request, from its arrival")
    threads: PositiveInt = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        description="engines of a task, each on one core; the cores this process may use unless given",
    )
    max_batch_size: PositiveInt = Field(default=64, description="most texts in one run; a decoder's slots")
    max_batch_tokens: PositiveInt = Field(
        default=512, description="most tokens in one run; a longer text goes alone"
    )
    max_prefill_tokens: PositiveInt = Field(
        default=512, description="most source tokens encoded between two decoding steps"
    )
    max_num_beams: PositiveInt = Field(default=6, description="widest beam search that a request may ask for")
    translation_batching: Literal["continuous", "request", "static"] = Field(
        default="continuous",
        description="request: a batch is decoded to its end before the next begins; static: it is as wide to"
        " its last token as at its first",
    )
    max_wait_ms: NonNegativeInt = Field(
        default=0, description="how long an idle engine lets the oldest text wait for more"
    )
    queue_size: PositiveInt = Field(default=1_024, description="most waiting requests of a task")
    max_queue_tokens: PositiveInt = Field(
        default=65_536, description="most waiting tokens of a task; an empty queue takes any request"
    )
    trace_path: Path | None = Field(
        default=None,
        description="where the life of each text is written, as JSON lines; off unless given",
    )
    engine_stall_ms: PositiveInt = Field(
        default=60_000, description="an engine whose batch runs longer is replaced"
    )
    drain_timeout_ms: PositiveInt = Field(
        default=4_000, description="as it stops: how long requests under way may go on"
    )
    faults: Path | None = Field(default=None, description="for tests alone: a folder of faults to inject")


def widest_beam(settings: Settings) -> int:
    """The most beams a request may ask for: each takes a slot, and only slots search by beams."""
    if settings.translation_batching != "continuous":
        return 1
    return min(settings.max_num_beams, settings.max_batch_size)


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
    """The environment variable of a field."""
    return f"{ENV_PREFIX}{field.upper()}"
