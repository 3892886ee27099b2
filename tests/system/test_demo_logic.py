"""The demo without servers: its load, its figures, the order of a comparison, and its routes."""

import asyncio
import itertools
import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from stub_server import TIMING, StubServer

from benchmark.runs.plan import Cores
from benchmark.stats.figures import RATE_FLOOR
from demo.app import create_app, timed
from demo.batch_timeline import MAX_WINDOW_S, batch_timeline, clear_trace
from demo.comparison import Busy, Comparisons, Plan, sentence
from demo.http_client import Answer, Connection, NoAnswer
from demo.load import Load, Window
from demo.servers import Servers, deferred_interrupts, start_cache
from locustfiles.inputs import InputsExhausted, Sample

NAMES = ("baseline", "optimized", "dynamic_batching")
TIMEOUT_S = 30


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(TIMEOUT_S):
            return await scenario()

    return asyncio.run(bounded())


def servers_of(stubs: list[StubServer]) -> Servers:
    trained = {"translation": True, "sentiment": True}
    return Servers(stubs, Cores((0,), (1,)), "none, since this is a test", trained)  # type: ignore[arg-type]


def plan(seconds: float = 0.1, users: int = 3, task: str = "translation") -> Plan:
    # Shorter than the page may ask for.
    return Plan(task=task, users=users).model_copy(update={"seconds": seconds})  # type: ignore[arg-type]


# The figures


def test_a_window_counts_answers_by_the_moment_they_arrive() -> None:
    window = Window(opened_s=10.0, seconds=2.0)
    moments = {(9.0, 9.999): False, (9.5, 10.0): True, (11.0, 11.999): True, (11.0, 12.0): False}
    for sent_s, answered_s in moments:
        window.add(sent_s, answered_s, failed=False, cache_hit=False)
    assert window.latencies_ms == pytest.approx([500.0, 999.0])
    assert len(window.latencies_ms) == sum(moments.values())


def test_figures_are_those_of_the_window_so_far() -> None:
    window = Window(opened_s=0.0, seconds=4.0)
    for number in range(1, 101):
        window.add(0.5, 0.5 + number / 1e3, failed=False, cache_hit=number <= 7)
    window.add(0.5, 0.6, failed=True, cache_hit=False)
    figures = window.figures(2.0)
    assert (figures.answers, figures.failures, figures.cache_hits) == (100, 1, 7)
    assert (figures.elapsed_s, figures.rps) == (2.0, 50.0)
    assert figures.p50_ms == pytest.approx(50.5) and figures.p95_ms == pytest.approx(95.05)
    assert window.figures(9.0).rps == 25.0, "after its end a window does not grow"


def test_a_percentile_below_its_sample_floor_is_absent() -> None:
    window = Window(opened_s=0.0, seconds=4.0)
    seen = []
    for count in range(1, 94):
        window.add(0.0, 0.1, failed=False, cache_hit=False)
        figures = window.figures(1.0)
        seen.append((count, figures.p50_ms is None, figures.p95_ms is None))
    assert seen == [(count, count < 8, count < 93) for count in range(1, 94)]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        (
            {"baseline": 10.0, "optimized": 50.0, "dynamic_batching": 200.0},
            "At 3 users dynamic batching answers 20x the baseline's translation requests.",
        ),
        (
            {"baseline": 10.0, "dynamic_batching": 10.0},
            "At 3 users no server answers more translation requests than the baseline.",
        ),
        (
            {"dynamic_batching": 200.0},
            "Baseline, Optimized: fewer than 16 right answers in 4 s, so there is no factor."
            " Choose more seconds.",
        ),
    ],
)
def test_the_sentence_has_a_factor_where_there_are_enough_answers(
    rates: dict[str, float], expected: str
) -> None:
    assert sentence(plan(seconds=4), rates) == expected


# The load


def numbered() -> Iterator[Sample]:
    return (Sample(f"Text {number}.") for number in itertools.count())


def test_each_user_waits_for_its_answer_and_no_text_is_sent_twice() -> None:
    async def scenario() -> tuple[StubServer, Any]:
        async with StubServer().listening() as stub:
            load = Load(stub.url, "translation", 5, numbered(), check_labels=True)
            while load.users_without_answer:
                await asyncio.sleep(0.001)
            load.open_window(TIMEOUT_S)
            sent_before = len(stub.texts)
            while len(stub.texts) < sent_before + 50:
                await asyncio.sleep(0.001)
            await load.end(TIMEOUT_S)
            assert load.active_users == 0
            load.check()
            return stub, (sent_before, load.figures())

    stub, (sent_before, figures) = run(scenario)
    assert stub.most_pending == 5 and stub.pending == 0
    assert len({*stub.texts}) == len(stub.texts)
    # At the opening of the window up to a request a user is under way, and none is lost at the end.
    assert len(stub.texts) - sent_before <= figures.answers <= len(stub.texts) - sent_before + 5
    assert figures.failures == 0


@pytest.mark.parametrize(
    "stub",
    [
        StubServer(status=503),
        StubServer(answer={"translation": ""}),
        StubServer(answer={"label": "NEGATIVE", "score": 0.9}),
    ],
    ids=["status", "empty", "another answer"],
)
def test_a_wrong_answer_is_a_failure(stub: StubServer) -> None:
    async def scenario() -> Any:
        async with stub.listening():
            load = Load(stub.url, "translation", 2, numbered(), check_labels=True)
            load.open_window(TIMEOUT_S)
            while (figures := load.figures()).failures < 4:  # type: ignore[union-attr]
                await asyncio.sleep(0.001)
            await load.end(TIMEOUT_S)
            return figures

    assert run(scenario).answers == 0


def test_users_end_where_there_are_no_texts_or_no_server() -> None:
    async def scenario() -> None:
        async with StubServer().listening() as stub:
            load = Load(stub.url, "translation", 2, itertools.islice(numbered(), 3), check_labels=True)
            await load.end(TIMEOUT_S)
            load = Load(stub.url, "translation", 2, iter(()), check_labels=True)
            while load.active_users:
                await asyncio.sleep(0.001)
            with pytest.raises(InputsExhausted):
                load.check()
        load = Load("http://127.0.0.1:1", "translation", 2, numbered(), check_labels=True)
        load.open_window(TIMEOUT_S)
        await load.end(TIMEOUT_S)
        figures = load.figures()
        assert figures is not None and (figures.failures, figures.answers) == (2, 0)

    run(scenario)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", b"?\r\n\r\n"]
)
def test_an_incomplete_answer_is_none(sent: bytes) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"}")
            writer.write(sent)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with await Connection.open(f"http://127.0.0.1:{port}") as connection, pytest.raises(NoAnswer):
                await connection.post("/translate", "{}")

    run(scenario)


# The comparison


async def compared(stubs: list[StubServer], comparisons: Comparisons, wanted: Plan) -> list[dict[str, Any]]:
    return [json.loads(line) async for line in await comparisons.start(wanted)]


async def listening(stack: AsyncExitStack, *stubs: StubServer) -> list[StubServer]:
    return [await stack.enter_async_context(stub.listening()) for stub in stubs]


def test_servers_take_turns_with_the_same_texts_and_the_next_comparison_has_others() -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            stubs = await listening(stack, *map(StubServer, NAMES))
            comparisons = Comparisons(servers_of(stubs))
            events = await compared(stubs, comparisons, plan())
            ticks = [event for event in events if event["event"] == "tick"]
            phases = [(name, [one["phase"] for one in ticks if one["server"] == name]) for name in NAMES]
            assert [name for name, _ in itertools.groupby(one["server"] for one in ticks)] == [*NAMES]
            order = ["first answers", "measuring", "last answers", "done"]
            for _, seen in phases:
                assert seen == sorted(seen, key=order.index) and {"measuring", "done"} <= {*seen}
            figures = {one["server"]: one["figures"] for one in ticks if one["phase"] == "done"}
            enough = {name: one["rps"] for name, one in figures.items() if one["answers"] >= RATE_FLOOR}
            assert events[-1] == {"event": "end", "sentence": sentence(plan(), enough)}
            slowest = min(stubs, key=lambda stub: len(stub.texts))
            assert all({*slowest.texts} <= {*stub.texts} for stub in stubs)
            before = {text for stub in stubs for text in stub.texts}
            for stub in stubs:
                stub.texts.clear()
            await compared(stubs, comparisons, plan())
            assert before.isdisjoint(text for stub in stubs for text in stub.texts)

    run(scenario)


def test_a_server_that_is_gone_costs_its_turn_alone() -> None:
    async def scenario() -> list[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            stubs = await listening(stack, *map(StubServer, NAMES))
            stubs[0].error = "baseline ended"
            return await compared(stubs, Comparisons(servers_of(stubs)), plan())

    events = run(scenario)
    assert events[0] == {"event": "failed", "server": "baseline", "message": "baseline ended"}
    assert {one["server"] for one in events[1:-1]} == {"optimized", "dynamic_batching"}
    assert events[-1]["event"] == "end" and events[-1]["sentence"].startswith("Baseline: ")


def test_one_comparison_runs_at_a_time_and_a_stopped_one_gets_its_last_answers() -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            stubs = await listening(stack, *map(StubServer, NAMES))
            comparisons = Comparisons(servers_of(stubs))
            first = await comparisons.start(plan(seconds=TIMEOUT_S))
            await anext(first)
            with pytest.raises(Busy):
                await comparisons.start(plan())
            stubs[0].held = asyncio.Event()
            while stubs[0].pending < 3:
                await asyncio.sleep(0.001)
            comparisons.stop()
            assert not [line async for line in first if json.loads(line)["event"] == "end"]
            next_one = asyncio.create_task(comparisons.start(plan()))
            await asyncio.sleep(0.01)
            assert not next_one.done() and stubs[0].pending == 3
            stubs[0].held.set()
            lines = [line async for line in await next_one]
            assert json.loads(lines[-1])["event"] == "end"

    run(scenario)


# The routes


@pytest.fixture
def page() -> Iterator[TestClient]:
    stubs = [StubServer(name, error="it is gone") for name in NAMES]
    servers = servers_of(stubs)
    with TestClient(create_app(servers, Comparisons(servers), "none"), base_url="http://127.0.0.1") as client:
        yield client


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"users": 0}, "users"),
        ({"users": 101}, "users"),
        ({"users": 1.5}, "users"),
        ({"users": None}, "users"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 21}, "seconds"),
        ({"task": "summary"}, "task"),
    ],
)
def test_a_plan_out_of_bounds_is_refused_by_field(
    page: TestClient, values: dict[str, Any], field: str
) -> None:
    answer = page.post("/compare", json={"task": "sentiment", "users": 1, "seconds": 1, **values})
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize("users", [1, 100])
def test_a_plan_within_bounds_is_run(page: TestClient, users: int) -> None:
    answer = page.post("/compare", json={"task": "sentiment", "users": users, "seconds": 20})
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert [event["event"] for event in events] == ["failed", "failed", "failed", "end"]


def test_a_server_that_is_gone_is_named(page: TestClient) -> None:
    answer = page.post("/ask/optimized", json={"task": "translation", "text": "I love you."})
    assert (answer.status_code, answer.json()) == (502, {"detail": "optimized does not answer: it is gone"})
    assert [server["error"] for server in page.get("/state").json()["servers"]] == ["it is gone"] * 3


def test_only_the_page_of_this_machine_is_answered(page: TestClient) -> None:
    assert page.get("/state").status_code == 200
    assert page.get("/state", headers={"Host": "example.com"}).status_code == 400


def test_times_are_those_of_the_answer_and_the_rest_is_http() -> None:
    headers = {"server-timing": TIMING, "x-cache": "miss"}
    shown = timed(Answer(200, headers, b'{"translation": "Ja."}'), total_ms=10.0)
    assert shown["phases_ms"] == {"tokenize": 0.25, "queue": 1.5, "inference": 7.0, "http": 1.25}
    assert (shown["answer"], shown["total_ms"], shown["cache"]) == ({"translation": "Ja."}, 10.0, "miss")


def test_a_redis_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GAP_REDIS_URL", raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://:s3cretw0rd@127.0.0.1:1/0")
    with ExitStack() as stack:
        cache, url = start_cache(stack, Cores((0,), (1,)))
    assert url == "" and cache.startswith("none, since REDIS_URL") and "s3cretw0rd" not in cache


def test_an_interrupt_is_deferred_to_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
    assert reached == ["the end"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


# The batch


def write_trace(path: Path, texts: list[tuple[float, float, float]], task: str = "translation") -> None:
    """`texts`: when each joined, was encoded and left, in seconds."""
    lines = [
        {"event": "join", "task": task, "started_s": joined_s, "decoding_s": decoding_s}
        for joined_s, decoding_s in dict.fromkeys((one[0], one[1]) for one in texts)
    ]
    lines += [
        {"event": "text", "task": task, "started_s": joined_s, "ended_s": left_s, "answered": True}
        for joined_s, _, left_s in texts
    ]
    with path.open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_a_text_takes_the_lowest_free_row_of_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write_trace(path, [(1.0, 1.1, 2.0), (1.0, 1.1, 1.5), (1.5, 1.6, 1.9), (1.6, 1.7, 1.8), (2.0, 2.1, 2.5)])
    write_trace(path, [(1.0, 1.1, 9.0)], task="sentiment")
    timeline = batch_timeline(path, "translation")
    assert timeline is not None
    # Those that join together are in the order in which they leave.
    rows = [(round(one["joined_ms"]), one["row"]) for one in timeline["texts"]]
    assert rows == [(0, 0), (0, 1), (500, 0), (600, 2), (1000, 0)]
    spans = [(round(one["decoding_ms"]), round(one["left_ms"])) for one in timeline["texts"]]
    assert spans == [(100, 500), (100, 1000), (600, 900), (700, 800), (1100, 1500)]
    counts = [round(timeline["window_ms"]), timeline["joined"], timeline["left"], timeline["most"]]
    assert counts == [1000, 5, 4, 3]


def test_the_timeline_is_of_the_last_moments(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write_trace(path, [(start / 10, start / 10, start / 10 + 0.15) for start in range(100)])
    timeline = batch_timeline(path, "translation")
    assert timeline is not None and timeline["window_ms"] == pytest.approx(MAX_WINDOW_S * 1e3)
    assert min(one["left_ms"] for one in timeline["texts"]) > 0 and timeline["most"] == 2
    clear_trace(path)
    assert batch_timeline(path, "translation") is None
