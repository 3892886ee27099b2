"""Answers that need no inference: from Redis, or from an identical text that is being inferred right now.

A key is the model's fingerprint, the task and a digest of the exact text. A value repeats the digest, so
that one under the wrong key is seen, and is validated before use: whatever Redis holds, an answer is right.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from .store import RedisStore
from .telemetry import Metrics

Answer = TypeVar("Answer")
Tokens = list[int]
Tokenize = Callable[[list[int]], Awaitable[list[Tokens]]]
Compute = Callable[[list[Tokens]], Awaitable[list[Answer]]]

DIGEST_BYTES = 16


class ResultCache(Generic[Answer]):
    """The cache of one task. `encode` makes an answer JSON, `decode` reads it back or raises ValueError."""

    def __init__(
        self,
        store: RedisStore | None,
        namespace: str,
        encode: Callable[[Answer], Any],
        decode: Callable[[Any], Answer],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._prefix = f"gap:{namespace}:".encode()
        self._salt = namespace.encode()
        self._encode = encode
        self._decode = decode
        self._metrics = metrics
        self._flights: dict[bytes, asyncio.Future[Answer]] = {}
        self._computing: set[asyncio.Task[None]] = set()

    async def answers(
        self, texts: Sequence[str], tokenize: Tokenize, compute: Compute[Answer]
    ) -> tuple[list[Answer], str]:
        """The answers to `texts` in order, and where they come from: hit, coalesced or miss.

        `tokenize` gets the positions of the texts that no cache holds, and may refuse them; `compute` gets
        the tokens of those that nobody computes yet. Identical texts, in one call or in several at once, are
        computed once. A batch is a hit if all of it is, coalesced if nothing of it had to be computed.
        Raises whatever `tokenize` or `compute` raises; cancelling this call cancels no computation that
        others wait for.
        """
        digests = [self._digest(text) for text in texts]
        position = {digest: index for index, digest in reversed(list(enumerate(digests)))}
        known: dict[bytes, Answer] = {}
        waiting = {digest: self._flights[digest] for digest in position if digest in self._flights}
        asked = [digest for digest in position if digest not in waiting]
        if asked and self._store is not None:
            values = await self._store.get([self._prefix + digest.hex().encode() for digest in asked])
            known = {
                digest: answer
                for digest, value in zip(asked, values, strict=True)
                if value is not None and (answer := self._read(digest, value)) is not None
            }
        missing = [digest for digest in asked if digest not in known]
        computed = 0
        if missing:
            tokens = dict(zip(missing, await tokenize([position[digest] for digest in missing]), strict=True))
            # While this call waited, another one may have begun on the same text.
            waiting |= {digest: self._flights[digest] for digest in missing if digest in self._flights}
            lead = [digest for digest in missing if digest not in waiting]
            computed = len(lead)
            if lead:
                waiting |= self._begin({digest: tokens[digest] for digest in lead}, compute)
        self._count(len(known), computed, len(position) - len(known) - computed)
        for digest, flight in waiting.items():
            known[digest] = await asyncio.shield(flight)
        outcome = "miss" if computed else "coalesced" if waiting else "hit"
        return [known[digest] for digest in digests], outcome

    def _begin(
        self, lead: dict[bytes, Tokens], compute: Compute[Answer]
    ) -> dict[bytes, asyncio.Future[Answer]]:
        loop = asyncio.get_running_loop()
        flights: dict[bytes, asyncio.Future[Answer]] = {digest: loop.create_future() for digest in lead}
        self._flights |= flights
        # A task of its own: whoever asked first may hang up while others wait for the same text.
        task = asyncio.create_task(self._fly(flights, [*lead.values()], compute))
        self._computing.add(task)
        task.add_done_callback(self._computing.discard)
        return flights

    async def _fly(
        self,
        flights: dict[bytes, asyncio.Future[Answer]],
        tokens: list[Tokens],
        compute: Compute[Answer],
    ) -> None:
        try:
            try:
                answers = await compute(tokens)
            except Exception:
                if len(tokens) == 1:
                    raise
                # Who waits for one of these texts shall not fail for another.
                for (digest, flight), token_ids in zip(flights.items(), tokens, strict=True):
                    await self._fly({digest: flight}, [token_ids], compute)
                return
            for (digest, flight), answer in zip(flights.items(), answers, strict=True):
                flight.set_result(answer)
                if self._store is not None:
                    value = digest + json.dumps(self._encode(answer)).encode()
                    self._store.put(self._prefix + digest.hex().encode(), value)
        except BaseException as error:
            for flight in flights.values():
                if not flight.done():
                    flight.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    flight.exception()  # looked at, so that a flight nobody waits for is no warning
            if not isinstance(error, Exception):
                raise
        finally:
            for digest, flight in flights.items():
                # The text may be in flight anew by now.
                if self._flights.get(digest) is flight:
                    del self._flights[digest]

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES, key=self._salt[:64]).digest()

    def _read(self, digest: bytes, value: bytes) -> Answer | None:
        try:
            if value[:DIGEST_BYTES] != digest:
                raise ValueError("another text's value")
            return self._decode(json.loads(value[DIGEST_BYTES:]))
        except (ValueError, TypeError, KeyError, RecursionError):
            self._metrics.cache_errors.labels("value").inc()
            return None

    def _count(self, hits: int, misses: int, coalesced: int) -> None:
        for outcome, count in (("hit", hits), ("miss", misses), ("coalesced", coalesced)):
            if count:
                self._metrics.cache_texts.labels(outcome).inc(count)
