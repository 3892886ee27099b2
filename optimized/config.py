"""The server's settings, read from GAP_* environment variables when the app is built."""

from pydantic import AliasChoices, Field, PositiveInt, RedisDsn

from .web.cpus import usable_cpus
from .web.settings import HttpSettings


class Settings(HttpSettings):
    """What this engine adds to the limits of the HTTP contract."""

    threads: PositiveInt = Field(
        default_factory=usable_cpus,
        description="inferences at once, each on one core; as many as usable CPUs unless given",
    )
    max_batch_tokens: PositiveInt = Field(default=2_048, description="most tokens in one run; more are split")
    redis_url: RedisDsn | None = Field(
        default=None,
        validation_alias=AliasChoices("GAP_REDIS_URL", "REDIS_URL"),
        description="the cache's server; no cache without it",
    )
    redis_timeout_ms: PositiveInt = Field(default=100, description="a slower answer of Redis is a miss")
    cache_ttl_s: PositiveInt = Field(default=86_400, description="how long an answer is kept")
