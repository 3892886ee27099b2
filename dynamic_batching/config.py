"""The server's settings, read from GAP_* environment variables when the app is built."""

from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from .web.cpus import usable_cpus
from .web.settings import HttpSettings


class Settings(HttpSettings):
    """What this engine adds to the limits of the HTTP contract."""

    threads: PositiveInt = Field(
        default_factory=usable_cpus,
        description="workers of a task, each on one core; as many as usable CPUs unless given",
    )
    max_batch_size: PositiveInt = Field(default=64, description="most texts in one run; a decoder's slots")
    max_batch_tokens: PositiveInt = Field(
        default=512, description="most tokens in one run; a longer text goes alone"
    )
    max_prefill_tokens: PositiveInt = Field(
        default=512, description="most source tokens encoded between two decoding steps"
    )
    translation_batching: Literal["continuous", "request", "static"] = Field(
        default="continuous",
        description="request: a batch is decoded to its end before the next begins; static: it is as wide to"
        " its last token as at its first",
    )
    max_wait_ms: NonNegativeInt = Field(
        default=0, description="how long an idle worker lets the oldest text wait for more"
    )
    queue_size: PositiveInt = Field(default=1_024, description="most waiting requests of a task")
    max_queue_tokens: PositiveInt = Field(
        default=65_536, description="most waiting tokens of a task; an empty queue takes any request"
    )
    trace_path: Path | None = Field(
        default=None, description="where the life of each text is written, as JSON lines; off unless given"
    )
    worker_stall_ms: PositiveInt = Field(
        default=60_000, description="a worker whose batch runs longer is replaced"
    )
