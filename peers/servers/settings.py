"""What the benchmark tells a peer's server, by environment variables with the prefix PEER_."""

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

ROUTES = {"sentiment": "/sentiment", "translation": "/translate"}


class PeerSettings(BaseSettings):
    """`weights` is the engine's own copy of the weights.

    `max_batch_size` and `max_wait_ms` are of the server's dynamic batching, in requests and from the first of
    them; `group_size` texts of like length are padded to one length; `threads` take requests where a server
    has no event loop.
    """

    model_config = SettingsConfigDict(env_prefix="PEER_", frozen=True)

    task: Literal["sentiment", "translation"]
    engine: str
    models: Path
    weights: Path
    port: int = 8000
    max_batch_size: int = 32
    max_wait_ms: float = 1.0
    group_size: int = 8
    threads: int = 4
    redis_url: str = ""

    @property
    def route(self) -> str:
        return ROUTES[self.task]
