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
        description="workers of each task, each on one core",
    )
    max_batch_size: PositiveInt = Field(
        default=64, description="texts of a batch, at most; slots of a decoder"
    )
    max_batch_tokens: PositiveInt = Field(
        default=512, description="tokens of a batch, at most; a longer text runs alone"
    )
    max_prefill_tokens: PositiveInt = Field(
        default=512, description="source tokens encoded between two decoding steps, at most"
    )
    translation_batching: Literal["continuous", "request", "static"] = Field(
        default="continuous",
        description="`continuous`; for comparison: `request` (a batch ends before the next starts), `static`"
        " (which also computes finished texts)",
    )
    vocabulary_screening: bool = Field(
        default=True,
        description="greedy steps compute few of the logits, where the model was prepared for that; off for"
        " comparison",
    )
    max_wait_ms: NonNegativeInt = Field(
        default=0, description="artificial delay of an idle worker, to gather a batch"
    )
    queue_size: PositiveInt = Field(default=1_024, description="waiting requests of each task, at most")
    max_queue_tokens: PositiveInt = Field(
        default=65_536, description="waiting tokens of each task, at most; an empty queue takes any request"
    )
    trace_path: Path | None = Field(
        default=None, description="file for a trace of each text, as JSON lines; off by default"
    )
    worker_stall_ms: PositiveInt = Field(
        default=60_000, description="time after which a worker that runs one batch is replaced"
    )
