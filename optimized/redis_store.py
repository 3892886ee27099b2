"""Redis behind an interface that cannot fail: an error or a slow answer is a miss.

Reads that arrive while one is under way leave together as the next MGET, and writes as one pipeline, so a
busy server pays one round trip for many requests. A circuit breaker keeps a broken Redis off the request
path: while it is open nothing is asked, and a PING in the background finds out when to close it.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

PROBE_INTERVAL_S = 0.5
# Longer than an answer may take: it is paid before the first request, and by the background probe.
CONNECT_TIMEOUT_S = 1.0
MAX_KEYS_PER_CALL = 512
MAX_PENDING_WRITES = 8_192

FAILURES = (RedisError, OSError, TimeoutError, ValueError)


class RedisStore:
    """Byte values by key, with a time to live; `get` and `put` never raise."""

    def __init__(self, url: str, ttl_s: int, timeout_ms: int, errors: Counter) -> None:
        """`errors` counts what Redis fails at, by kind."""
        self._redis = Redis.from_url(
            url,
            socket_timeout=timeout_ms / 1e3,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._ttl_s = ttl_s
        self.errors = errors
        self._reads: list[tuple[Sequence[bytes], asyncio.Future[list[bytes | None]]]] = []
        self._writes: dict[bytes, bytes] = {}
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._writes_refused = False

    async def connect(self) -> None:
        """Opens the connection before the first request needs it; a Redis that is not there is no failure."""
        try:
            await self._redis.ping()
        except FAILURES as error:
            self._fail("connect", error)

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of `keys`, None for each that is absent or cannot be had."""
        answer: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self._reads.append((keys, answer))
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        return await answer

    def put(self, key: bytes, value: bytes) -> None:
        """Stores a value soon; dropped where Redis cannot be reached or falls far behind."""
        if self._prober is not None or len(self._writes) >= MAX_PENDING_WRITES:
            return
        self._writes[key] = value
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Finishes what is under way and lets the connections go."""
        for task in (self._reader, self._writer):
            if task is not None:
                await asyncio.wait([task])
        if self._prober is not None:
            self._prober.cancel()
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

    async def _mget(self, keys: list[bytes]) -> list[bytes | None]:
        if self._prober is None:
            try:
                values: list[Any] = await self._redis.mget(keys)
                if len(values) == len(keys):
                    return values
                raise ValueError(f"{len(values)} values for {len(keys)} keys")
            except FAILURES as error:
                self._fail("read", error)
        return [None] * len(keys)

    async def _write(self) -> None:
        try:
            while self._writes and self._prober is None:
                batch, self._writes = self._writes, {}
                pipeline = self._redis.pipeline(transaction=False)
                for key, value in batch.items():
                    pipeline.set(key, value, ex=self._ttl_s)
                try:
                    answers = await pipeline.execute(raise_on_error=False)
                    self._note_refusals([answer for answer in answers if isinstance(answer, Exception)])
                except FAILURES as error:
                    self._fail("write", error)
        finally:
            self._writer = None
            if self._prober is not None:
                self._writes.clear()

    def _note_refusals(self, refusals: list[Exception]) -> None:
        """Counts what a full Redis would not store, and logs the beginning and the end of it."""
        if refusals:
            self.errors.labels("write").inc(len(refusals))
        if bool(refusals) != self._writes_refused:
            self._writes_refused = bool(refusals)
            log.warning("Redis %s", f"refuses to store: {refusals[0]}" if refusals else "stores again")

    def _fail(self, operation: str, error: Exception) -> None:
        self.errors.labels(operation).inc()
        if self._prober is None:
            log.warning("cache off: Redis fails to %s (%s: %s)", operation, type(error).__name__, error)
            self._prober = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            try:
                # What else is pooled leads to the server that failed, and would fail the next reader.
                await self._redis.connection_pool.disconnect(inuse_connections=False)
                if await self._redis.ping() is True:
                    break
            except FAILURES:
                continue
        self._prober = None
        log.info("cache on: Redis answers again")
