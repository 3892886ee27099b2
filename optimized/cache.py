"""Answers that need no inference: from Redis, or from an identical text that is being inferred right now.

A key is the model's fingerprint, the task and a digest of the exact text. A value repeats the digest, so
that one under the wrong key is seen, and is validated before use: whatever Redis holds, an answer is right.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from .store import RedisStore
from .telemetry import Metrics

Answer = TypeVar("Answer")
Tokens = list[int]
Tokenize = Callable[[list[int]], Awaitable[list[Tokens]]]
Compute = Callable[[list[Tokens]], Awaitable[list[Answer]]]

DIGEST_BYTES = 16


class Computation:
    """Texts that are computed together, by digest, and how many requests wait for one of them."""

    def __init__(self, digests: Iterable[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.flights: dict[bytes, asyncio.Future[Any]] = {digest: loop.create_future() for digest in digests}
        self.waiting = 0
        self.task: asyncio.Task[None] | None = None


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
        self._computing: dict[bytes, Computation] = {}

    async def answers(
        self, texts: Sequence[str], tokenize: Tokenize, compute: Compute[Answer]
    ) -> tuple[list[Answer], str]:
        """The answers to `texts` in order, and where they come from: hit, coalesced or miss.

        `tokenize` gets the positions of the texts that no cache holds, and may refuse them; `compute` gets
        the tokens of those that nobody computes yet. Identical texts, in one call or in several at once, are
        computed once. A batch is a hit if all of it is, coalesced if nothing of it had to be computed.
        Raises whatever `tokenize` or `compute` raises. Cancelling this call, as a deadline does, cancels a
        computation once nobody else waits for it.
        """
        held: set[Computation] = set()
        try:
            return await self._answers(texts, tokenize, compute, held)
        finally:
            self._leave(held)

    async def _answers(
        self, texts: Sequence[str], tokenize: Tokenize, compute: Compute[Answer], held: set[Computation]
    ) -> tuple[list[Answer], str]:
        digests = [self._digest(text) for text in texts]
        position = {digest: index for index, digest in reversed(list(enumerate(digests)))}
        known: dict[bytes, Answer] = {}
        waiting = self._join(position, held)
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
            waiting |= self._join(missing, held)
            lead = {digest: tokens[digest] for digest in missing if digest not in waiting}
            computed = len(lead)
            if lead:
                self._begin(lead, compute)
                waiting |= self._join(lead, held)
        self._count(len(known), computed, len(position) - len(known) - computed)
        for digest, computation in waiting.items():
            known[digest] = await asyncio.shield(computation.flights[digest])
        outcome = "miss" if computed else "coalesced" if waiting else "hit"
        return [known[digest] for digest in digests], outcome

    def _begin(self, lead: dict[bytes, Tokens], compute: Compute[Answer]) -> None:
        begun = Computation(lead)
        self._computing |= dict.fromkeys(lead, begun)
        # A task of its own: whoever asked first may hang up while others wait for the same text.
        begun.task = asyncio.create_task(self._compute(begun, lead, compute))

    def _join(self, digests: Iterable[bytes], held: set[Computation]) -> dict[bytes, Computation]:
        """The computations of those texts that are being computed, which count the request as waiting."""
        found = {digest: self._computing[digest] for digest in digests if digest in self._computing}
        for computation in {*found.values()} - held:
            computation.waiting += 1
            held.add(computation)
        return found

    def _leave(self, held: set[Computation]) -> None:
        for computation in held:
            computation.waiting -= 1
            if not computation.waiting and computation.task is not None:
                # Before the task has seen it: whoever asks from now on begins anew.
                self._end(computation, computation.flights)
                computation.task.cancel()

    async def _compute(self, of: Computation, tokens: dict[bytes, Tokens], compute: Compute[Answer]) -> None:
        try:
            try:
                answers = await compute([*tokens.values()])
            except Exception:
                if len(tokens) == 1:
                    raise
                # Who waits for one of these texts shall not fail for another.
                for digest, token_ids in tokens.items():
                    await self._compute(of, {digest: token_ids}, compute)
                return
            for digest, answer in zip(tokens, answers, strict=True):
                of.flights[digest].set_result(answer)
                if self._store is not None:
                    value = digest + json.dumps(self._encode(answer)).encode()
                    self._store.put(self._prefix + digest.hex().encode(), value)
        except BaseException as error:
            for digest in tokens:
                flight = of.flights[digest]
                if not flight.done():
                    flight.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                    flight.exception()  # looked at, so that a flight nobody waits for is no warning
            if not isinstance(error, Exception):
                raise
        finally:
            self._end(of, tokens)

    def _end(self, computation: Computation, digests: Iterable[bytes]) -> None:
        for digest in digests:
            # The text may be computed anew by now.
            if self._computing.get(digest) is computation:
                del self._computing[digest]

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
