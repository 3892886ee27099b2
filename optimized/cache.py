"""Answers that need no inference: from Redis, or from an identical text that is being computed right now.

A key ends in a digest of the exact text. A value repeats the digest, so that one under the wrong key is
seen, and is validated before use: whatever Redis holds, an answer is right.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Generic, TypeVar

from prometheus_client import Counter
from pydantic import TypeAdapter

from .redis_store import RedisStore

Answer = TypeVar("Answer")

DIGEST_CHARS = 32


class ResultCache(Generic[Answer]):
    """The cache of one task, whose answers are of `kind`; `claims` are the texts that are being computed."""

    def __init__(self, namespace: str, kind: type[Answer], store: RedisStore | None, texts: Counter) -> None:
        """`texts` counts texts by outcome."""
        self.claims: dict[bytes, Claim[Answer]] = {}
        self.texts = texts
        self._store = store
        self._namespace = namespace
        self._json = TypeAdapter(kind)

    def look_up(self, texts: Sequence[str], num_beams: int = 1) -> "Lookup[Answer]":
        """A request's texts, to be found or computed; to be closed."""
        namespace = self._namespace if num_beams == 1 else f"{self._namespace}:{num_beams}"
        digest = partial(hashlib.blake2b, digest_size=DIGEST_CHARS // 2, key=namespace.encode()[:64])
        return Lookup(
            self, [f"gap:{namespace}:{digest(text.encode()).hexdigest()}".encode() for text in texts]
        )

    async def read(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """The answers that Redis holds."""
        known: dict[bytes, Answer] = {}
        if self._store is None or not keys:
            return known
        for key, value in zip(keys, await self._store.get(keys), strict=True):
            try:
                if value is not None and value.startswith(key[-DIGEST_CHARS:]):
                    known[key] = self._json.validate_json(value[DIGEST_CHARS:], strict=True)
                elif value is not None:
                    raise ValueError("another text's value")
            except ValueError:
                self._store.errors.labels("value").inc()
        return known

    def write(self, key: bytes, answer: Answer) -> None:
        if self._store is not None:
            self._store.put(key, key[-DIGEST_CHARS:] + self._json.dump_json(answer))


class Lookup(Generic[Answer]):
    """A request's texts, by key: `read` what is known, `claim` what nobody computes, await all `answers`.

    `outcome` says where they come from: a hit is in Redis as a whole, a miss has something to compute.
    """

    def __init__(self, cache: ResultCache[Answer], keys: list[bytes]) -> None:
        self.outcome = "hit"
        self._cache = cache
        self._keys = keys
        self._positions = {key: index for index, key in reversed([*enumerate(keys)])}
        self._known: dict[bytes, Answer] = {}
        self._awaited: dict[bytes, Claim[Answer]] = {}

    def close(self) -> None:
        for claim in {*self._awaited.values()}:
            claim.release()

    async def read(self) -> list[int]:
        """Joins others that compute these texts, and asks Redis; the positions of those still missing."""
        self._join(self._positions)
        asked = [key for key in self._positions if key not in self._awaited]
        self._known = await self._cache.read(asked)
        return [self._positions[key] for key in asked if key not in self._known]

    def claim(self, positions: list[int]) -> "Claim[Answer]":
        """The texts at `positions`, less those that another request has begun to compute meanwhile."""
        keys = [self._keys[position] for position in positions]
        self._join(keys)
        claim = Claim(self._cache, {key: self._positions[key] for key in keys if key not in self._awaited})
        self._join(claim.positions)
        hits, misses = len(self._known), len(claim.positions)
        coalesced = len(self._positions) - hits - misses
        for outcome, count in (("hit", hits), ("coalesced", coalesced), ("miss", misses)):
            if count:
                self.outcome = outcome
                self._cache.texts.labels(outcome).inc(count)
        return claim

    async def answers(self) -> list[Answer]:
        """The answers to all texts, in order; raises what the computation of one raised."""
        for key, claim in self._awaited.items():
            self._known[key] = await asyncio.shield(claim.futures[key])
        return [self._known[key] for key in self._keys]

    def _join(self, keys: Iterable[bytes]) -> None:
        """Waits from now on for those of the texts that are being computed."""
        claims = {key: self._cache.claims[key] for key in keys if key in self._cache.claims}
        for claim in {*claims.values()}.difference(self._awaited.values()):
            claim.waiting += 1
        self._awaited |= claims


class Claim(Generic[Answer]):
    """Texts that one `task` computes, for each request that waits for any of them.

    `positions` by key are those in the request that claims them. The task is one of its own: whoever asked
    first may leave while others wait for the same text.
    """

    task: asyncio.Task[None]

    def __init__(self, cache: ResultCache[Answer], positions: dict[bytes, int]) -> None:
        loop = asyncio.get_running_loop()
        self.positions = positions
        self.futures: dict[bytes, asyncio.Future[Answer]] = {key: loop.create_future() for key in positions}
        self.waiting = 0
        self._cache = cache
        cache.claims |= dict.fromkeys(positions, self)

    def fulfil(self, key: bytes, answer: Answer) -> None:
        self._end(key)
        self.futures[key].set_result(answer)
        self._cache.write(key, answer)

    def fail(self, key: bytes, error: Exception) -> None:
        self._end(key)
        self.futures[key].set_exception(error)
        self.futures[key].exception()  # looked at, so that one nobody waits for is no warning

    def release(self) -> None:
        """A request waits no more; what nobody waits for is not computed."""
        self.waiting -= 1
        if not self.waiting:
            # Before the task has seen it: whoever asks from now on begins anew.
            for key in self.positions:
                self._end(key)
            self.task.cancel()

    def _end(self, key: bytes) -> None:
        # The text may be computed anew by now.
        if self._cache.claims.get(key) is self:
            del self._cache.claims[key]
