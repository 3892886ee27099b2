"""Redis behind an interface that cannot fail: an error or a slow answer is a miss.

Reads that arrive while one is under way leave together as the next MGET, and writes as one pipeline, so a
busy server pays one round trip for many requests. Circuit breakers keep a broken Redis off the request path,
one for reads and one for writes: a full Redis, a replica, or a user with few rights may still be read.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterCrossSlotError, MovedError, RedisError

from .circuit_breaker import CircuitBreaker
from .web.settings import MASK, masked

# Longer than an answer may take: it is paid before the first request, and by retries in the background.
CONNECT_TIMEOUT_S = 1.0
# Asked for at the start, as a batch is; a cluster keeps them in different slots.
CONNECT_KEYS = [b"gap:0", b"gap:1"]
MAX_KEYS_PER_CALL = 512
MAX_PENDING_WRITES = 8_192

FAILURES = (RedisError, OSError, TimeoutError, ValueError)
CLUSTER_FAILURES = (AskError, ClusterCrossSlotError, MovedError)


class RedisStore:
    """Byte values by key, with a time to live; `get` and `put` never raise."""

    def __init__(self, url: str, ttl_s: int, timeout_ms: int, errors: Counter) -> None:
        """`errors` counts what Redis fails at, by kind."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_ms / 1e3,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            # No HELLO and no CLIENT SETINFO: servers before Redis 6 and many proxies take neither.
            protocol=2,
            driver_info=None,
        )
        self._read_circuit = CircuitBreaker("cache", partial(self._describe, "read"))
        self._write_circuit = CircuitBreaker("cache writes", partial(self._describe, "write"))
        self._ttl_s = ttl_s
        self.errors = errors
        self._reads: list[tuple[Sequence[bytes], asyncio.Future[list[bytes | None]]]] = []
        self._writes: dict[bytes, bytes] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Opens the connection before the first request needs it; a Redis that is not there is no failure."""
        await self._mget(CONNECT_KEYS, "connect")

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, None for each that is absent or cannot be had."""
        answer: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._reads.append((keys, answer))
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        return await answer

    def put(self, key: bytes, value: bytes) -> None:
        """Stores a value soon; dropped where Redis cannot be reached or falls far behind."""
        if self._off or len(self._writes) >= MAX_PENDING_WRITES:
            return
        self._writes[key] = value
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Finishes what is under way and lets the connections go."""
        for task in (self._reader, self._writer):
            if task is not None:
                await asyncio.wait([task])
        await self._read_circuit.stop()
        await self._write_circuit.stop()
        await self._redis.aclose()

    async def _read(self) -> None:
        try:
            while self._reads:
                batch = [self._reads.pop(0)]
                size = len(batch[0][0])
                while self._reads and size + len(self._reads[0][0]) <= MAX_KEYS_PER_CALL:
                    batch.append(self._reads.pop(0))
                    size += len(batch[-1][0])
                values = iter(await self._mget([key for keys, _ in batch for key in keys]))
                for keys, answer in batch:
                    found = [*islice(values, len(keys))]
                    if not answer.done():
                        answer.set_result(found)
        finally:
            self._reader = None

    async def _mget(self, keys: list[bytes], kind: str = "read") -> list[bytes | None]:
        if not self._read_circuit.is_open:
            try:
                return await self._try_mget(keys)
            except FAILURES as error:
                self.errors.labels(kind).inc()
                self._read_circuit.open(error, partial(self._retry_mget, keys))
        return [None] * len(keys)

    async def _try_mget(self, keys: list[bytes]) -> list[bytes | None]:
        values: list[Any] = await self._redis.mget(keys)
        if len(values) != len(keys):
            raise ValueError(f"{len(values)} values for {len(keys)} keys")
        return values

    async def _retry_mget(self, keys: list[bytes]) -> None:
        # What else is pooled leads to the server that failed, and would fail the next reader.
        await self._redis.connection_pool.disconnect(inuse_connections=False)
        await self._try_mget(keys)

    async def _write(self) -> None:
        try:
            while self._writes and not self._off:
                batch, self._writes = self._writes, {}
                pipeline = self._redis.pipeline(transaction=False)
                for key, value in batch.items():
                    pipeline.set(key, value, ex=self._ttl_s)
                try:
                    outcomes = await pipeline.execute(raise_on_error=False)
                except FAILURES as error:
                    outcomes = [error]
                tried = zip(batch.items(), outcomes, strict=False)
                failed = [(item, outcome) for item, outcome in tried if isinstance(outcome, Exception)]
                if failed:
                    self.errors.labels("write").inc(len(failed))
                    (key, value), reason = failed[0]
                    self._write_circuit.open(reason, partial(self._redis.set, key, value, ex=self._ttl_s))
        finally:
            self._writer = None
            if self._off:
                self._writes.clear()

    @property
    def _off(self) -> bool:
        """Whether nothing is stored: what cannot be read is not worth a write."""
        return self._read_circuit.is_open or self._write_circuit.is_open

    def _describe(self, operation: str, error: Exception) -> str:
        detail = masked(str(error))
        if password := self._redis.connection_pool.connection_kwargs.get("password"):
            detail = detail.replace(password, MASK)
        hint = "; a cluster needs a proxy" if isinstance(error, CLUSTER_FAILURES) else ""
        return f"Redis fails to {operation} ({type(error).__name__}: {detail}){hint}"
