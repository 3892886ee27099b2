"""What the benchmark tells a peer's server, by environment variables with the prefix PEER_."""

from pathlib import Path
from typing import Literal

from pydantic_settings import BaseSettings, SettingsConfigDict

ROUTES = {"sentiment": "/sentiment", "translation": "/translate"}


class PeerSettings(BaseSettings):
    """`weights` is the engine's own copy of the weights; `group_size` is the engine's, the rest the server's.

    `max_batch_size` counts requests; 0 ms of `max_wait_ms` is no wait.
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
    redis_url: str = ""

    @property
    def route(self) -> str:
        return ROUTES[self.task]
