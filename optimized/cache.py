"""Answers that need no inference: from Redis, or from an identical text that is being computed right now.

A key is the model's fingerprint, the task and a digest of the exact text. A value repeats the digest, so
that one under the wrong key is seen, and is validated before use: whatever Redis holds, an answer is right.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

from prometheus_client import Counter

from .redis_store import RedisStore

Answer = TypeVar("Answer")

DIGEST_BYTES = 16


class ResultCache(Generic[Answer]):
    """The cache of one task. `encode` makes an answer JSON, `decode` reads it back or raises ValueError."""

    def __init__(
        self,
        store: RedisStore | None,
        namespace: str,
        encode: Callable[[Answer], Any],
        decode: Callable[[Any], Answer],
        texts: Counter,
        errors: Counter,
    ) -> None:
        self.claims: dict[bytes, Claim[Answer]] = {}
        self._store = store
        self._namespace = namespace
        self._encode = encode
        self._decode = decode
        self._texts = texts
        self._errors = errors

    def look_up(self, texts: Sequence[str], num_beams: int = 1) -> "Lookup[Answer]":
        """What is known of a request's texts; to be used in a `with` block."""
        namespace = self._namespace if num_beams == 1 else f"{self._namespace}:{num_beams}"
        key = namespace.encode()[:64]
        digests = [
            hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES, key=key).digest() for text in texts
        ]
        return Lookup(self, f"gap:{namespace}:", digests)

    async def read(self, prefix: str, digests: Sequence[bytes]) -> dict[bytes, Answer]:
        """The answers that Redis holds."""
        if self._store is None or not digests:
            return {}
        values = await self._store.get([key_of(prefix, digest) for digest in digests])
        known = {}
        for digest, value in zip(digests, values, strict=True):
            if value is not None:
                try:
                    if value[:DIGEST_BYTES] != digest:
                        raise ValueError("another text's value")
                    known[digest] = self._decode(json.loads(value[DIGEST_BYTES:]))
                except (ValueError, TypeError, KeyError, RecursionError):
                    self._errors.labels("value").inc()
        return known

    def write(self, prefix: str, digest: bytes, answer: Answer) -> None:
        if self._store is not None:
            self._store.put(key_of(prefix, digest), digest + json.dumps(self._encode(answer)).encode())

    def count(self, **texts: int) -> None:
        """Counts texts by where their answers come from."""
        for outcome, number in texts.items():
            if number:
                self._texts.labels(outcome).inc(number)


def key_of(prefix: str, digest: bytes) -> bytes:
    return f"{prefix}{digest.hex()}".encode()


class Lookup(Generic[Answer]):
    """A request's texts on their way to answers: `read`, `claim` what nobody computes, then `answers`."""

    def __init__(self, cache: ResultCache[Answer], prefix: str, digests: list[bytes]) -> None:
        self._cache = cache
        self.prefix = prefix
        self._digests = digests
        self._positions = {digest: index for index, digest in reversed([*enumerate(digests)])}
        self._known: dict[bytes, Answer] = {}
        self._awaited: dict[bytes, Claim[Answer]] = {}
        self.outcome = "hit"

    async def read(self) -> list[int]:
        """Asks others that compute these texts, and Redis; the positions of those that are still missing."""
        self._await_claims(self._positions)
        asked = [digest for digest in self._positions if digest not in self._awaited]
        self._known = await self._cache.read(self.prefix, asked)
        return [self._positions[digest] for digest in asked if digest not in self._known]

    def claim(self, positions: list[int]) -> "Claim[Answer]":
        """Takes on the texts at `positions`, less those that another request has begun to compute by now."""
        digests = [self._digests[position] for position in positions]
        self._await_claims(digests)
        claim = Claim(self._cache, self.prefix, [digest for digest in digests if digest not in self._awaited])
        claim.positions = [self._positions[digest] for digest in claim.futures]
        self._await_claims(claim.futures)
        hits, misses = len(self._known), len(claim.futures)
        self.outcome = "miss" if misses else "coalesced" if self._awaited else "hit"
        self._cache.count(hit=hits, miss=misses, coalesced=len(self._positions) - hits - misses)
        return claim

    async def answers(self) -> list[Answer]:
        """All answers, in order; raises what the computation of one raised."""
        for digest, claim in self._awaited.items():
            self._known[digest] = await asyncio.shield(claim.futures[digest])
        return [self._known[digest] for digest in self._digests]

    def __enter__(self) -> "Lookup[Answer]":
        return self

    def __exit__(self, *_: object) -> None:
        for claim in {*self._awaited.values()}:
            claim.release()

    def _await_claims(self, digests: Iterable[bytes]) -> None:
        """Waits from now on for those of the texts that are being computed."""
        held = {*self._awaited.values()}
        found = {digest: self._cache.claims[digest] for digest in digests if digest in self._cache.claims}
        for claim in {*found.values()} - held:
            claim.waiting += 1
        self._awaited |= found


class Claim(Generic[Answer]):
    """Texts that one task computes, for each request that waits for one of them; it fulfils all or fails."""

    positions: list[int]

    def __init__(self, cache: ResultCache[Answer], prefix: str, digests: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.futures: dict[bytes, asyncio.Future[Answer]] = {
            digest: loop.create_future() for digest in digests
        }
        self.waiting = 0
        self._cache = cache
        self._prefix = prefix
        self._digests = digests
        self._task: asyncio.Task[None] | None = None
        cache.claims |= dict.fromkeys(digests, self)

    def start(self, computing: Coroutine[Any, Any, None]) -> None:
        """In a task of its own: whoever asked first may leave while others wait for the same text."""
        self._task = asyncio.create_task(computing)

    def fulfil(self, index: int, answer: Answer) -> None:
        """The answer to text `index` of the claim."""
        self._end(index).set_result(answer)
        self._cache.write(self._prefix, self._digests[index], answer)

    def fail(self, index: int, error: Exception) -> None:
        future = self._end(index)
        future.set_exception(error)
        future.exception()  # looked at, so that one nobody waits for is no warning

    def release(self) -> None:
        """One request waits no more; what nobody waits for is not computed."""
        self.waiting -= 1
        if not self.waiting and self._task is not None:
            # Before the task has seen it: whoever asks from now on begins anew.
            for index in range(len(self._digests)):
                self._end(index)
            self._task.cancel()

    def _end(self, index: int) -> "asyncio.Future[Answer]":
        digest = self._digests[index]
        # The text may be computed anew by now.
        if self._cache.claims.get(digest) is self:
            del self._cache.claims[digest]
        return self.futures[digest]
