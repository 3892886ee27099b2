"""The server's settings, read from GAP_* environment variables when the app is built."""

from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, PositiveInt, RedisDsn, Secret
from redis.asyncio import ConnectionPool

from .web.cpus import usable_cpus
from .web.settings import HttpSettings


def usable(url: RedisDsn) -> RedisDsn:
    """The URL; ValueError where an option of it is none of the client's."""
    try:
        ConnectionPool.from_url(str(url)).make_connection()
    except Exception:
        raise ValueError("its options should be those of redis-py") from None
    return url


class Settings(HttpSettings):
    """What this engine adds to the limits of the HTTP contract."""

    threads: PositiveInt = Field(
        default_factory=usable_cpus,
        description="concurrent inferences, each on one core",
    )
    max_batch_tokens: PositiveInt = Field(
        default=2_048, description="tokens of a batch, at most; larger ones are split"
    )
    redis_url: Secret[Annotated[RedisDsn, AfterValidator(usable)]] | None = Field(
        default=None,
        validation_alias=AliasChoices("GAP_REDIS_URL", "REDIS_URL"),
        description="redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS; without it there is no cache",
    )
    redis_timeout_ms: PositiveInt = Field(
        default=100, description="time for Redis to answer; later counts as a miss"
    )
    cache_ttl_s: PositiveInt = Field(default=86_400, description="lifetime of a cached answer")
