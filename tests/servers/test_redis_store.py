"""The result cache over Redis: nothing that Redis does or holds makes an answer wrong or late."""

import asyncio
import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cache_helpers import Counts, FakeModel, ask, make_cache, run, written

from benchmark.measure.redis_server import RedisProcess, running_redis
from optimized.cache import DIGEST_CHARS, ResultCache
from optimized.redis_store import RedisStore
from optimized.web.schemas import Sentiment


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with running_redis() as server:
        print(server.command("INFO", "server"))
        yield server


@pytest.fixture
def fresh(redis: RedisProcess) -> RedisProcess:
    redis.command("FLUSHALL")
    redis.command("CONFIG", "SET", "maxmemory", "0")
    return redis


def store_of(server: RedisProcess, counts: Counts, timeout_ms: int = 2_000) -> RedisStore:
    return RedisStore(server.url, 60, timeout_ms, counts.errors)


def test_an_answer_is_kept_with_a_time_to_live_and_apart_from_another_models(fresh: RedisProcess) -> None:
    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        store = store_of(fresh, counts)
        cache = make_cache(store, counts)
        assert await ask(cache, model, "a", "b", "a") == (["A", "B", "A"], "miss")
        await written(store)
        assert await ask(cache, model, "b") == (["B"], "hit")
        assert await ask(cache, model, "b", "c") == (["B", "C"], "miss")
        other = make_cache(store, counts, "other:task")
        assert await ask(other, model, "b") == (["B"], "miss")
        assert model.computed == ["a", "b", "c", "b"]
        await written(store)
        keys = fresh.command("KEYS", "gap:model:task:*")
        assert len(keys) == 3
        assert all(0 < fresh.command("TTL", key) <= 60 for key in keys)
        await store.close()

    run(scenario())


def test_reads_that_wait_together_share_a_round_trip(fresh: RedisProcess) -> None:
    async def scenario() -> None:
        store = store_of(fresh, Counts())
        await store.get([b"first"])
        fresh.command("CONFIG", "RESETSTAT")
        await asyncio.gather(*(store.get([b"k%d" % index]) for index in range(100)))
        assert fresh.command("INFO", "commandstats")["cmdstat_mget"]["calls"] <= 2
        for index in range(100):
            store.put(b"k%d" % index, b"%d" % index)
        await written(store)
        assert await store.get([b"k7", b"none", b"k99"]) == [b"7", None, b"99"]
        await store.close()

    run(scenario())


def digest(namespace: str, text: str) -> bytes:
    made = hashlib.blake2b(text.encode(), digest_size=DIGEST_CHARS // 2, key=namespace.encode())
    return made.hexdigest().encode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"garbage",
        b"\x00" * 40,
        digest("model:task", "b") + b'"another text"',
        digest("model:task", "a") + b"[1]",
        digest("model:task", "a") + b'"cut',
        digest("other:task", "a") + b'"another model"',
        digest("model:task", "a") + b'"half of a pair: \\ud800"',
        digest("model:task", "a") + b"[" * 100_000,
        digest("model:task", "a") + b"\xff",
        json.dumps("A").encode(),
    ],
)
def test_a_value_that_is_not_valid_is_a_miss(fresh: RedisProcess, value: bytes) -> None:
    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        store = store_of(fresh, counts)
        fresh.command("SET", b"gap:model:task:" + digest("model:task", "a"), value)
        cache = make_cache(store, counts)
        assert await ask(cache, model, "a") == (["A"], "miss")
        assert counts.of("errors", kind="value") == 1
        await written(store)
        assert await ask(cache, model, "a") == (["A"], "hit")
        await store.close()

    run(scenario())


class HeldValue:
    """A store that holds `value` as JSON under every key."""

    def __init__(self, value: Any, counts: Counts) -> None:
        self.json = json.dumps(value).encode()
        self.errors = counts.errors

    async def get(self, keys: list[bytes]) -> list[bytes]:
        return [key[-DIGEST_CHARS:] + self.json for key in keys]


@pytest.mark.parametrize(
    "value",
    [
        {"label": "NEUTRAL", "score": 0.9},
        {"label": "POSITIVE", "score": "0.9"},
        {"label": "POSITIVE", "score": True},
        {"label": "POSITIVE", "score": 1.5},
        {"label": "POSITIVE", "score": float("nan")},
        {"label": "POSITIVE"},
        "POSITIVE",
        None,
    ],
)
def test_a_sentiment_of_another_shape_is_a_miss(value: Any) -> None:
    async def read(held: Any) -> tuple[list[int], float]:
        counts = Counts()
        cache: ResultCache[Any] = ResultCache("m", Sentiment, HeldValue(held, counts), counts.texts)  # type: ignore[arg-type]
        missing = await cache.look_up(["a film"]).read()
        return missing, counts.of("errors", kind="value")

    assert run(read(value)) == ([0], 1)
    assert run(read({"label": "POSITIVE", "score": 0.9})) == ([], 0)


def test_a_sentiment_comes_back_as_it_was_computed(fresh: RedisProcess) -> None:
    class Classifier(FakeModel):
        async def compute(self, batch: list[list[int]]) -> list[Any]:
            return [Sentiment(label="POSITIVE", score=1 / 3)] * len(batch)

    async def scenario() -> None:
        counts = Counts()
        store = store_of(fresh, counts)
        cache: ResultCache[Any] = ResultCache("model:sentiment", Sentiment, store, counts.texts)
        first = await ask(cache, Classifier(), "a film")
        await written(store)
        assert first == ([Sentiment(label="POSITIVE", score=1 / 3)], "miss")
        assert await ask(cache, Classifier(), "a film") == (first[0], "hit")
        await store.close()

    run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_frozen_redis_costs_one_timeout_and_then_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: RedisProcess) -> None:
        model, counts = FakeModel(), Counts()
        store = store_of(server, counts, timeout_ms=100)
        cache = make_cache(store, counts)
        await ask(cache, model, "a")
        await written(store)
        server.send_signal(signal.SIGSTOP)
        assert await ask(cache, model, "a") == (["A"], "miss")
        for text in "bcdefgh":
            assert (await ask(cache, model, text))[1] == "miss"
        assert counts.of("errors", kind="read") == 1
        assert sum("cache off" in record.message for record in caplog.records) == 1
        server.send_signal(signal.SIGCONT)
        await until(lambda: not store._read_circuit.is_open)
        assert await ask(cache, model, "a") == (["A"], "hit")
        assert sum("cache on" in record.message for record in caplog.records) == 1
        await store.close()

    caplog.set_level("INFO", "optimized")
    with running_redis() as server:
        run(scenario(server))


def test_redis_killed_in_mid_load_and_started_again() -> None:
    async def scenario(server: RedisProcess) -> None:
        model, counts = FakeModel(), Counts()
        store = store_of(server, counts, timeout_ms=200)
        cache = make_cache(store, counts)
        stop = asyncio.Event()
        answered = 0

        async def client(name: str) -> None:
            nonlocal answered
            count = 0
            while not stop.is_set():
                text = f"{name}{count % 5}"
                assert (await ask(cache, model, text))[0] == [text.upper()]
                answered += 1
                count += 1
                await asyncio.sleep(0.001)

        clients = [asyncio.create_task(client(name)) for name in "abcd"]
        await until(lambda: answered > 50)
        server.kill()
        await until(lambda: store._read_circuit.is_open)
        at = answered
        await until(lambda: answered > at + 50)
        server.start()
        await until(lambda: not store._read_circuit.is_open)
        hits = counts.of("texts", outcome="hit")
        await until(lambda: counts.of("texts", outcome="hit") > hits + 20)
        stop.set()
        await asyncio.gather(*clients)
        await store.close()

    with running_redis() as server:
        run(scenario(server))


def test_without_any_redis_the_server_answers_without_a_cache() -> None:
    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        store = RedisStore("redis://127.0.0.1:1/0", 60, 200, counts.errors)
        cache = make_cache(store, counts)
        for text in "abc":
            assert await ask(cache, model, text) == ([text.upper()], "miss")
        assert counts.of("errors", kind="read") == 1
        await store.close()

    run(scenario())
