"""The cache on the servers that people have: old ones, proxies, clusters, replicas, users with few rights."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from typing import Any

import pytest
from cache_helpers import Counts, FakeModel, ask, make_cache, run, written

from benchmark.measure.processes import free_port
from benchmark.measure.redis_server import RedisProcess, clear_cache, redis_url, running_redis
from optimized.redis_store import RedisStore

PASSWORD = "s3cret/with:odd@characters"
ENCODED = "s3cret%2Fwith%3Aodd%40characters"
NOT_OF_OLD_SERVERS = ("--rename-command", "HELLO", "", "--rename-command", "CLIENT", "")
ASKED = 60


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[..., RedisProcess]]:
    """An empty server by its options, kept for the module."""

    def emptied(*options: str) -> RedisProcess:
        start(*options).command("FLUSHALL")
        return start(*options)

    with ExitStack() as stack:
        start = cache(lambda *options: stack.enter_context(running_redis(None, *options)))
        yield emptied


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("optimized.circuit_breaker.MIN_DELAY_S", 0.005)
    monkeypatch.setattr("optimized.circuit_breaker.MAX_DELAY_S", 0.02)
    caplog.set_level("INFO", "optimized")


async def connected(url: str, counts: Counts) -> RedisStore:
    store = RedisStore(url, 60, 2_000, counts.errors)
    await store.connect()
    return store


async def hits_after_misses(url: str) -> None:
    """The cache works: what was asked is a hit when it is asked again."""
    model, counts = FakeModel(), Counts()
    store = await connected(url, counts)
    cache = make_cache(store, counts)
    assert await ask(cache, model, "a", "b") == (["A", "B"], "miss")
    await written(store)
    assert await ask(cache, model, "b", "a") == (["B", "A"], "hit")
    assert counts.registry.get_sample_value("gap_cache_errors_total", {"kind": "read"}) is None
    await store.close()


def with_user(server: RedisProcess, *rules: str) -> str:
    """The URL of a user with the rules, who has a password."""
    server.command("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", *rules)
    return server.url.replace("redis://", f"redis://app:{ENCODED}@")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


@pytest.mark.parametrize("options", [(), NOT_OF_OLD_SERVERS], ids=["new", "before HELLO"])
def test_a_server_is_used_with_and_without_hello(
    servers: Callable[..., RedisProcess], options: tuple[str, ...]
) -> None:
    server = servers(*options)
    run(hits_after_misses(server.url))
    server.command("FLUSHALL")
    run(hits_after_misses(with_user(server, "~gap:*", "+mget", "+set")))


def test_a_server_that_takes_a_password_alone_is_used() -> None:
    """As all before Redis 6."""
    with running_redis(None, *NOT_OF_OLD_SERVERS) as server:
        server.command("CONFIG", "SET", "requirepass", PASSWORD)
        run(hits_after_misses(server.url.replace("redis://", f"redis://:{ENCODED}@")))


@asynccontextmanager
async def proxy(server: RedisProcess) -> AsyncIterator[str]:
    """The URL of a proxy that ends a connection over a command it does not know, as twemproxy does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", server.port)

        async def back() -> None:
            while data := await upstream_reader.read(65_536):
                writer.write(data)

        answers = asyncio.create_task(back())
        while count := await reader.readline():
            parts = [count]
            for _ in range(int(count[1:])):
                length = await reader.readline()
                parts += length, await reader.readexactly(int(length[1:]) + 2)
            if parts[2].strip().upper() not in (b"MGET", b"SET"):
                break
            upstream.write(b"".join(parts))
        answers.cancel()
        writer.close()
        upstream.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"


def test_a_proxy_that_knows_few_commands_is_used(servers: Callable[..., RedisProcess]) -> None:
    async def scenario() -> None:
        async with proxy(servers()) as url:
            await hits_after_misses(url)

    run(scenario())


def clustered(server: RedisProcess) -> RedisProcess:
    """Makes a server a cluster's only node."""
    server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    return server


REFUSALS: dict[str, tuple[tuple[str, ...], Callable[[RedisProcess], Any], str]] = {
    "a user without MGET": (
        (),
        lambda server: with_user(server, "~*", "+@all", "-mget"),
        "NoPermissionError",
    ),
    "a user of other keys": ((), lambda server: with_user(server, "~other:*", "+@all"), "NoPermissionError"),
    "a wrong password": (
        (),
        lambda server: with_user(server, "+@all").replace("app:", "app:no"),
        "Authentic",
    ),
    "a cluster": (
        # The port of its own would be 10,000 higher, which may be none.
        ("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
        lambda server: clustered(server).url,
        "a cluster needs a proxy",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_server_that_refuses_reads_is_logged_once_however_long_it_does(
    servers: Callable[..., RedisProcess], case: str, caplog: pytest.LogCaptureFixture
) -> None:
    options, prepare, reason = REFUSALS[case]
    url = prepare(servers(*options))

    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        store = await connected(url, counts)
        cache = make_cache(store, counts)
        for index in range(ASKED):
            texts = f"{index}", f"{index} b"
            assert await ask(cache, model, *texts) == ([text.upper() for text in texts], "miss")
            await asyncio.sleep(0.005)
        await store.close()
        assert counts.of("errors", kind="connect") == 1 and counts.of("errors", kind="read") == 0

    run(scenario())
    (line,) = messages(caplog)
    assert line.startswith("cache off: Redis fails to read") and reason in line
    assert PASSWORD not in line and ENCODED not in line


def test_reads_come_back_once_they_are_allowed(
    servers: Callable[..., RedisProcess], caplog: pytest.LogCaptureFixture
) -> None:
    server = servers()
    url = with_user(server, "~gap:*", "+set")

    async def scenario() -> None:
        model, counts = FakeModel(), Counts()
        store = await connected(url, counts)
        cache = make_cache(store, counts)
        for _ in range(ASKED):
            await ask(cache, model, "z")
        with_user(server, "~gap:*", "+set", "+mget")
        while (await ask(cache, model, "z"))[1] != "hit":
            await asyncio.sleep(0.005)
        await store.close()

    run(scenario())
    first, second = messages(caplog)
    assert "cache off" in first and second == "cache on again"


WRITE_REFUSALS: dict[str, Callable[[RedisProcess], Any]] = {
    "a user without SET": lambda server: with_user(server, "~*", "+@all", "-set"),
    "a replica": lambda server: server.command("REPLICAOF", "127.0.0.1", "1"),
    "too few replicas": lambda server: server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
    "full": lambda server: server.command("CONFIG", "SET", "maxmemory", "1"),
}


@pytest.mark.parametrize("case", WRITE_REFUSALS)
def test_a_server_that_refuses_writes_is_logged_once_and_still_read(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: RedisProcess) -> None:
        model, counts = FakeModel(), Counts()
        writable = await connected(server.url, counts)
        await ask(make_cache(writable, counts), model, "kept")
        await written(writable)
        await writable.close()
        found = WRITE_REFUSALS[case](server)
        store = await connected(found if isinstance(found, str) and "@" in found else server.url, counts)
        cache = make_cache(store, counts)
        for index in range(ASKED):
            assert (await ask(cache, model, str(index)))[1] == "miss"
            assert await ask(cache, model, "kept") == (["KEPT"], "hit")
            await asyncio.sleep(0.005)
        assert counts.of("errors", kind="write") == 1
        await store.close()

    with running_redis() as server:
        run(scenario(server))
    (line,) = messages(caplog)
    assert line.startswith("cache writes off: Redis fails to write")


def test_a_server_that_echoes_the_password_in_an_error_does_not_have_it_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As one that knows no AUTH does, with all that came behind the command."""
    with running_redis(None, *NOT_OF_OLD_SERVERS, "--rename-command", "AUTH", "") as server:
        url = server.url.replace("redis://", f"redis://app:{ENCODED}@")
        run(closed_at_once(url))
    (line,) = messages(caplog)
    assert "unknown command 'AUTH'" in line and "s3cret" not in line


async def closed_at_once(url: str) -> None:
    await (await connected(url, Counts())).close()


def test_the_benchmark_clears_the_cache_of_an_old_server(
    servers: Callable[..., RedisProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers(*NOT_OF_OLD_SERVERS)
    server.command("SET", "gap:model:task:x", "1")
    server.command("SET", "of the user", "1")
    monkeypatch.setenv("GAP_REDIS_URL", with_user(server, "~*", "+@all"))
    with redis_url() as url:
        clear_cache(url)
    assert server.command("KEYS", "*") == [b"of the user"]
