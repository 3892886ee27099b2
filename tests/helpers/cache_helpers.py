"""A fake model behind a result cache, for the tests of the cache and of its store."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from prometheus_client import CollectorRegistry, Counter

from optimized.cache import ResultCache
from optimized.engine import answer
from optimized.redis_store import RedisStore
from optimized.web.request_context import RequestContext

Tokens = list[int]


class FakeModel:
    """Upper-cases texts, and remembers those it computed; waits for `go_on` before, and raises `error`."""

    max_input_tokens = 8
    meaningless: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def tokenize(self, text: str) -> Tokens:
        return [*map(ord, text)]

    async def compute(self, batch: list[Tokens]) -> list[str]:
        await self.go_on.wait()
        if self.error:
            raise self.error
        texts = ["".join(map(chr, token_ids)) for token_ids in batch]
        self.computed += texts
        return [text.upper() for text in texts]


class Counts:
    """What a cache and its store count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.errors = Counter("gap_cache_errors", "By kind", ["kind"], registry=self.registry)
        self.texts = Counter("gap_cache_texts", "By outcome", ["outcome"], registry=self.registry)

    def of(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"gap_cache_{name}_total", labels) or 0.0


def make_cache(store: Any = None, counts: Counts | None = None, namespace: str = "model:task") -> Any:
    return ResultCache(namespace, str, store, (counts or Counts()).texts)


async def ask(
    cache: ResultCache[str], model: Any, *texts: str, timeout_s: float = 60.0
) -> tuple[list[str], str]:
    """The answers to a request's texts, and the outcome in its header, as the engine does."""
    request = RequestContext()
    request.asked = [*enumerate(texts)]
    request.deadline_s = request.arrived_s + timeout_s
    answers = await answer(cache.look_up(texts), model, model.compute, [*texts], request)
    return answers, dict(request.headers)[b"x-cache"].decode()


def started(
    cache: ResultCache[str], model: Any, *texts: str, timeout_s: float = 60.0
) -> asyncio.Task[tuple[list[str], str]]:
    return asyncio.create_task(ask(cache, model, *texts, timeout_s=timeout_s))


def run(coroutine: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(coroutine, 30)

    return asyncio.run(bounded())


async def all_wait() -> None:
    """Returns once every task has gone as far as it can without a timer, a thread or a socket."""
    for _ in range(40):
        await asyncio.sleep(0)


async def written(store: RedisStore) -> None:
    """Returns once the store has written what it was given."""
    while store._writer is not None:
        await asyncio.wait([store._writer])
