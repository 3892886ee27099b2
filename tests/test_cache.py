"""The cache: identical texts are computed once, and nothing that Redis does makes an answer wrong or late."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.redis_server import RedisProcess, running_redis
from optimized.cache import DIGEST_BYTES, ResultCache
from optimized.inference import InferencePool
from optimized.server import a_sentiment, a_text
from optimized.store import RedisStore
from optimized.telemetry import Metrics, RequestClock

Tokens = list[int]


class Engine:
    """Upper-cases texts, and remembers what it was asked; `gate` holds it back."""

    def __init__(self) -> None:
        self.computed: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    def calls(self, texts: list[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        async def tokenize(positions: list[int]) -> list[Tokens]:
            return [[ord(character) for character in texts[position]] for position in positions]

        async def compute(batch: list[Tokens]) -> list[str]:
            await self.gate.wait()
            if self.error:
                raise self.error
            found = ["".join(map(chr, tokens)) for tokens in batch]
            self.computed += found
            return [text.upper() for text in found]

        return tokenize, compute


def run(coroutine: Awaitable[Any]) -> Any:
    async def bounded() -> Any:
        return await asyncio.wait_for(coroutine, 30)

    return asyncio.run(bounded())


def make_cache(store: RedisStore | None, metrics: Metrics, namespace: str = "model:task") -> ResultCache[str]:
    return ResultCache(store, namespace, str, a_text, metrics)


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"gap_cache_{name}_total", labels) or 0.0


async def settled(store: RedisStore) -> None:
    """Returns once the store has written what it was given."""
    while store._writer is not None:
        await asyncio.wait([store._writer])


TEXTS = st.lists(st.text("abcd", min_size=1, max_size=2), min_size=1, max_size=12)


@given(requests=st.lists(TEXTS, min_size=1, max_size=10))
def test_whatever_is_asked_at_once_each_gets_its_own_and_each_text_is_computed_once(
    requests: list[list[str]],
) -> None:
    async def scenario() -> None:
        engine, metrics = Engine(), Metrics()
        cache = make_cache(None, metrics)
        engine.gate.clear()
        asked = [asyncio.create_task(cache.answers(texts, *engine.calls(texts))) for texts in requests]
        for _ in range(5):
            await asyncio.sleep(0)
        engine.gate.set()
        for texts, task in zip(requests, asked, strict=True):
            answers, outcome = await task
            assert answers == [text.upper() for text in texts]
            assert outcome in ("miss", "coalesced")
        distinct = {text for texts in requests for text in texts}
        assert sorted(engine.computed) == sorted(distinct)
        assert counted(metrics, "texts", outcome="miss") == len(distinct)
        assert not cache._computing

    run(scenario())


def test_who_asked_first_may_leave_and_the_others_are_answered() -> None:
    async def scenario() -> None:
        engine = Engine()
        cache = make_cache(None, Metrics())
        engine.gate.clear()
        first = asyncio.create_task(cache.answers(["a"], *engine.calls(["a"])))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.answers(["a"], *engine.calls(["a"])))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        assert await second == (["A"], "coalesced")
        assert first.cancelled() and engine.computed == ["a"]

    run(scenario())


def test_what_nobody_waits_for_any_more_is_not_computed() -> None:
    async def scenario() -> None:
        engine = Engine()
        cache = make_cache(None, Metrics())
        engine.gate.clear()
        asked = [["a", "b"], ["b", "c"], ["c"], ["d"]]
        tasks = [asyncio.create_task(cache.answers(texts, *engine.calls(texts))) for texts in asked]
        for _ in range(3):
            await asyncio.sleep(0)
        for index in (0, 3):
            tasks[index].cancel()
        # Before the cancelled computation has ended, somebody asks for its text anew.
        await asyncio.sleep(0)
        again = asyncio.create_task(cache.answers(["d"], *engine.calls(["d"])))
        await asyncio.sleep(0)
        engine.gate.set()
        assert await tasks[1] == (["B", "C"], "miss") and await tasks[2] == (["C"], "coalesced")
        assert await again == (["D"], "miss")
        # "a" was computed together with "b", which the second waited for.
        assert sorted(engine.computed) == ["a", "b", "c", "d"] and not cache._computing

    run(scenario())


def test_a_text_whose_request_has_expired_takes_no_time_of_an_inference_thread() -> None:
    async def scenario() -> None:
        pool, engine, inferred = InferencePool(1, max_batch_tokens=100), Engine(), []
        begun, gate = threading.Event(), threading.Event()
        cache = make_cache(None, Metrics())

        def infer(batch: list[Tokens]) -> list[str]:
            inferred.append(["".join(map(chr, tokens)) for tokens in batch])
            begun.set()
            gate.wait(10)
            return [text.upper() for text in inferred[-1]]

        async def compute(batch: list[Tokens]) -> list[str]:
            return await pool.infer(infer, batch, RequestClock())

        async def ask(text: str) -> tuple[list[str], str]:
            return await cache.answers([text], engine.calls([text])[0], compute)

        first = asyncio.create_task(ask("first"))
        await asyncio.to_thread(begun.wait, 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask("late"), 0.01)
        last = asyncio.create_task(ask("last"))
        gate.set()
        assert await first == (["FIRST"], "miss") and await last == (["LAST"], "miss")
        assert inferred == [["first"], ["last"]]
        pool.close()

    run(scenario())


def test_who_waits_for_the_store_meanwhile_keeps_a_computation_alive() -> None:
    async def scenario() -> None:
        engine, ready = Engine(), asyncio.Event()
        cache = make_cache(None, Metrics())
        engine.gate.clear()
        first = asyncio.create_task(cache.answers(["a"], *engine.calls(["a"])))
        await asyncio.sleep(0)
        tokenize, compute = engine.calls(["a", "b"])

        async def slowly(positions: list[int]) -> list[Tokens]:
            await ready.wait()
            return await tokenize(positions)

        second = asyncio.create_task(cache.answers(["a", "b"], slowly, compute))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        ready.set()
        engine.gate.set()
        assert await second == (["A", "B"], "miss")

    run(scenario())


def test_a_failure_reaches_everyone_who_waits_and_nobody_later() -> None:
    async def scenario() -> None:
        engine = Engine()
        cache = make_cache(None, Metrics())
        engine.error = RuntimeError("broken")
        engine.gate.clear()
        waiting = [asyncio.create_task(cache.answers(["a"], *engine.calls(["a"]))) for _ in range(3)]
        await asyncio.sleep(0)
        engine.gate.set()
        assert all(
            isinstance(e, RuntimeError) for e in await asyncio.gather(*waiting, return_exceptions=True)
        )
        engine.error = None
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "miss")

    run(scenario())


def test_a_text_that_fails_in_a_batch_fails_nobody_who_waits_for_another() -> None:
    async def scenario() -> None:
        engine = Engine()
        cache = make_cache(None, Metrics())
        tokenize, compute = engine.calls(["a", "x", "b"])

        async def compute_but_x(batch: list[Tokens]) -> list[str]:
            found = await compute(batch)
            if "X" in found:
                raise RuntimeError("broken")
            return found

        engine.gate.clear()
        batch = asyncio.create_task(cache.answers(["a", "x", "b"], tokenize, compute_but_x))
        await asyncio.sleep(0)
        others = [asyncio.create_task(cache.answers([text], *engine.calls([text]))) for text in "axb"]
        await asyncio.sleep(0)
        engine.gate.set()
        a, x, b = await asyncio.gather(*others, return_exceptions=True)
        assert (a, b) == ((["A"], "coalesced"), (["B"], "coalesced"))
        assert isinstance(x, RuntimeError)
        with pytest.raises(RuntimeError, match="broken"):
            await batch
        assert not cache._computing

    run(scenario())


def test_a_refused_text_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        engine = Engine()
        cache = make_cache(None, Metrics())

        async def refuse(positions: list[int]) -> list[Tokens]:
            raise ValueError("too long")

        with pytest.raises(ValueError, match="too long"):
            await cache.answers(["a", "b"], refuse, engine.calls(["a", "b"])[1])
        assert not engine.computed and not cache._computing

    run(scenario())


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with running_redis() as server:
        print(server.version)
        yield server


@pytest.fixture
def fresh(redis: RedisProcess) -> RedisProcess:
    redis.command("FLUSHALL")
    redis.command("CONFIG", "SET", "maxmemory", "0")
    return redis


async def opened(server: RedisProcess, metrics: Metrics, timeout_ms: int = 2_000) -> RedisStore:
    return RedisStore(server.url, 60, timeout_ms, metrics)


def test_an_answer_is_kept_with_a_time_to_live_and_told_apart_from_another_models(
    fresh: RedisProcess,
) -> None:
    async def scenario() -> None:
        engine, metrics = Engine(), Metrics()
        store = await opened(fresh, metrics)
        cache = make_cache(store, metrics)
        assert await cache.answers(["a", "b", "a"], *engine.calls(["a", "b", "a"])) == (
            ["A", "B", "A"],
            "miss",
        )
        await settled(store)
        assert await cache.answers(["b"], *engine.calls(["b"])) == (["B"], "hit")
        assert await cache.answers(["b", "c"], *engine.calls(["b", "c"])) == (["B", "C"], "miss")
        other = make_cache(store, metrics, "other:task")
        assert await other.answers(["b"], *engine.calls(["b"])) == (["B"], "miss")
        assert engine.computed == ["a", "b", "c", "b"]
        await settled(store)
        keys = fresh.command("KEYS", "gap:model:task:*")
        assert len(keys) == 3
        assert all(0 < fresh.command("TTL", key) <= 60 for key in keys)
        await store.close()

    run(scenario())


def test_reads_that_wait_together_share_a_round_trip(fresh: RedisProcess) -> None:
    async def scenario() -> None:
        metrics = Metrics()
        store = await opened(fresh, metrics)
        await store.get([b"first"])
        before = fresh.calls("mget")
        await asyncio.gather(*(store.get([b"k%d" % index]) for index in range(100)))
        assert fresh.calls("mget") - before <= 2
        for index in range(100):
            store.put(b"k%d" % index, b"%d" % index)
        await settled(store)
        assert await store.get([b"k7", b"none", b"k99"]) == [b"7", None, b"99"]
        await store.close()

    run(scenario())


def digest(namespace: str, text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES, key=namespace.encode()).digest()


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
        engine, metrics = Engine(), Metrics()
        store = await opened(fresh, metrics)
        fresh.command("SET", b"gap:model:task:" + digest("model:task", "a").hex().encode(), value)
        cache = make_cache(store, metrics)
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "miss")
        assert counted(metrics, "errors", kind="value") == 1
        await settled(store)
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "hit")
        await store.close()

    run(scenario())


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
def test_a_sentiment_of_another_shape_is_not_taken(value: Any) -> None:
    with pytest.raises(ValueError):
        a_sentiment(value)
    assert a_sentiment({"label": "POSITIVE", "score": 0.9}).score == 0.9


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_frozen_redis_costs_one_timeout_and_then_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: RedisProcess) -> None:
        engine, metrics = Engine(), Metrics()
        store = await opened(server, metrics, timeout_ms=100)
        cache = make_cache(store, metrics)
        await cache.answers(["a"], *engine.calls(["a"]))
        await settled(store)
        server.freeze()
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "miss")
        for text in "bcdefgh":
            assert (await cache.answers([text], *engine.calls([text])))[1] == "miss"
        assert counted(metrics, "errors", kind="read") == 1
        assert sum("cache off" in record.message for record in caplog.records) == 1
        server.thaw()
        await until(lambda: store._prober is None)
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "hit")
        assert sum("cache on" in record.message for record in caplog.records) == 1
        await store.close()

    caplog.set_level("INFO", "optimized")
    with running_redis() as server:
        run(scenario(server))


def test_redis_killed_in_mid_load_and_started_again() -> None:
    async def scenario(server: RedisProcess) -> None:
        engine, metrics = Engine(), Metrics()
        store = await opened(server, metrics, timeout_ms=200)
        cache = make_cache(store, metrics)
        stop = asyncio.Event()
        answered = 0

        async def client(name: str) -> None:
            nonlocal answered
            count = 0
            while not stop.is_set():
                text = f"{name}{count % 5}"
                assert (await cache.answers([text], *engine.calls([text])))[0] == [text.upper()]
                answered += 1
                count += 1
                await asyncio.sleep(0.001)

        clients = [asyncio.create_task(client(name)) for name in "abcd"]
        await until(lambda: answered > 50)
        server.kill()
        await until(lambda: store._prober is not None)
        at = answered
        await until(lambda: answered > at + 50)
        server.start()
        await until(lambda: store._prober is None)
        hits = counted(metrics, "texts", outcome="hit")
        await until(lambda: counted(metrics, "texts", outcome="hit") > hits + 20)
        stop.set()
        await asyncio.gather(*clients)
        await store.close()

    with running_redis() as server:
        run(scenario(server))


def test_a_full_redis_is_said_once_and_still_read(
    fresh: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        engine, metrics = Engine(), Metrics()
        store = await opened(fresh, metrics)
        cache = make_cache(store, metrics)
        await cache.answers(["a"], *engine.calls(["a"]))
        await settled(store)
        fresh.command("CONFIG", "SET", "maxmemory", "1")
        for text in "bcd":
            assert (await cache.answers([text], *engine.calls([text])))[0] == [text.upper()]
            await settled(store)
        assert await cache.answers(["a"], *engine.calls(["a"])) == (["A"], "hit")
        assert counted(metrics, "errors", kind="write") == 3
        assert sum("refuses" in record.message for record in caplog.records) == 1
        await store.close()

    caplog.set_level("INFO", "optimized")
    run(scenario())


def test_no_redis_at_all_is_a_server_without_a_cache() -> None:
    async def scenario() -> None:
        engine, metrics = Engine(), Metrics()
        store = RedisStore("redis://127.0.0.1:1/0", 60, 200, metrics)
        cache = make_cache(store, metrics)
        for text in "abc":
            assert await cache.answers([text], *engine.calls([text])) == ([text.upper()], "miss")
        assert counted(metrics, "errors", kind="read") == 1
        await store.close()

    run(scenario())
