"""The chaos test: its short form against every server, and that each of its assertions can fail."""

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED, SERVERS

from benchmark.measure.process_sampler import ProcessUsage
from benchmark.measure.server_metrics import ServerMetrics
from chaos import assertions
from chaos.assertions import EXTRA, MISSING, UNEXPECTED, WRONG
from chaos.clients import DISCONNECTED, Client, Outcome
from chaos.golden_answers import same
from chaos.plan import MIXES, Plan
from chaos.raw_http import CLOSED, Response
from chaos.request_generator import RequestGenerator
from chaos.requests import Delivery, Request
from chaos.run import run
from chaos.summary import make_record, make_table
from dynamic_batching.config import Settings
from dynamic_batching.models import Models
from dynamic_batching.runtime.onnx_files import find_onnx_files

# Every kind of request and of fault, in seconds.
SHORT: dict[str, Any] = {
    "requests": 120,
    "clients": 30,
    "min_duration_s": 1.0,
    "phase_timeout_s": 60.0,
    "fault_interval_s": 0.02,
    "max_redis_outage_s": 0.4,
    "slow_byte_interval_s": 0.2,
    "stall_ms": 1_000,
    "worker_stall_ms": 500,
    "receive_timeout_ms": 2_500,
    "drain_timeout_ms": 1_000,
    "text_share": 0.02,
    "beam_search_texts": 3,
    "requests_at_shutdown": 10,
    # Too short to tell a leak from warm-up.
    "max_memory_growth": 1.0,
}
GOLDEN: Any = {
    ("translation", 1): {"a": "A", "b": "B"},
    ("translation", 3): {"a": "AA"},
    ("sentiment", 1): {"c": {"label": "POSITIVE", "score": 0.9}, "d": {"label": "NEGATIVE", "score": 0.8}},
}
TRANSLATION = Request("/translate", b"{}", task="translation", golden={"translation": "A"})
SENTIMENT = Request("/sentiment", b"{}", task="sentiment", golden=GOLDEN["sentiment", 1]["c"])
POISON = replace(TRANSLATION, statuses=frozenset({500}))
CLOSING = replace(TRANSLATION, delivery=Delivery.CLOSE_WAITING)
CONSTANT_500 = b'{"detail": "internal server error"}'


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_answers_correctly_under_every_fault(name: str, tmp_path: Path) -> None:
    result = run(Plan(name, **SHORT), EMBEDDED, tmp_path / "log", print)
    record = make_record(result)
    assert not result.violations, record
    assert len(result.outcomes) > SHORT["requests"]
    assert make_table([record]).row_count > len(record["summary"])


@pytest.mark.parametrize("name", SERVERS)
def test_no_fault_can_be_injected_unless_the_setting_is_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    injection = f"{name}.web.fault_injection"
    monkeypatch.delitem(sys.modules, injection, raising=False)
    models = models_of(name, None)
    assert injection not in sys.modules
    answers = {task: run_alone(models, task, "I love you.") for task in ("translation", "sentiment")}
    # With the setting on, the same text fails: the test above would see it.
    for task, answer in answers.items():
        (tmp_path / f"poison-{task}").write_text("I love you.")
        faulty = models_of(name, tmp_path)
        with pytest.raises(RuntimeError, match="this text was to raise"):
            run_alone(faulty, task, "I love you.")
        assert run_alone(faulty, task, "I love them.") == run_alone(models, task, "I love them.") != answer


def models_of(name: str, faults: Path | None) -> Any:
    """The models of a server, in this process."""
    runtime = "pytorch" if name == "baseline" else "onnx"
    find = import_module(f"{name}.web.model_files").find_model_files
    files = [find(EMBEDDED, f"{task}/{runtime}") for task in ("translation", "sentiment")]
    settings = import_module(f"{name}.config").Settings(threads=1, faults=faults)
    return import_module(f"{name}.models").Models(*files, settings)


def run_alone(models: Any, task: str, text: str) -> Any:
    """The answer to a text; the baseline's models take one, the others' a batch."""
    model = models.translator if task == "translation" else models.classifier
    one = type(model).__module__ == "baseline.models"
    batch = model.tokenize(text) if one else [model.tokenize(text)]
    if task == "sentiment":
        return model.classify(batch)
    return model.translate(batch, 1, 60.0) if one else model.translate(batch)


@pytest.mark.parametrize("injected", [False, True])
def test_the_memory_of_a_lost_decoder_is_freed_at_once(injected: bool, tmp_path: Path) -> None:
    files = [find_onnx_files(EMBEDDED, task) for task in ("translation", "sentiment")]
    settings = Settings(models_dir=EMBEDDED, faults=tmp_path if injected else None)
    decoder = Models(*files, settings).translator.new_decoder()
    freed = weakref.ref(decoder)
    gc.disable()
    try:
        del decoder
        assert freed() is None
    finally:
        gc.enable()


def responded(
    request: Request = TRANSLATION, status: int = 200, body: bytes = b'{"translation": "A"}', **fields: Any
) -> Outcome:
    return Outcome(request, 1.0, 2.0, Response(status, fields.pop("headers", {}), body), **fields)


def no_response(request: Request, reason: str) -> Outcome:
    return Outcome(request, 1.0, 2.0, reason=reason)


def violated(outcome: Outcome, fault: bool = False) -> str | None:
    violation = assertions.check_outcome(outcome, lambda task, start_s, end_s: fault)
    return violation.assertion if violation else None


@pytest.mark.parametrize(
    ("outcome", "assertion"),
    [
        (responded(), None),
        (responded(body=b'{"translation": "B"}'), WRONG),
        (responded(body=b"not json"), WRONG),
        (responded(SENTIMENT, body=b'{"label": "POSITIVE", "score": 0.90001}'), None),
        (responded(SENTIMENT, body=b'{"label": "POSITIVE", "score": 0.91}'), WRONG),
        (no_response(TRANSLATION, CLOSED), MISSING),
        (no_response(TRANSLATION, "response timeout"), MISSING),
        (no_response(replace(TRANSLATION, response_optional=True), CLOSED), None),
        (no_response(replace(TRANSLATION, response_optional=True), "response timeout"), MISSING),
        (no_response(CLOSING, DISCONNECTED), None),
        (no_response(CLOSING, "no connection: refused"), MISSING),
        (responded(extra=b"HTTP/1.1 200 OK"), EXTRA),
        (responded(status=500, body=CONSTANT_500), UNEXPECTED),
        (responded(POISON, status=500, body=CONSTANT_500), None),
        (responded(POISON, status=500, body=b'{"detail": "/home/x.py"}'), UNEXPECTED),
        (responded(POISON), UNEXPECTED),
        (responded(status=503, body=b'{"detail": ""}', headers={"retry-after": "1"}), None),
        (responded(status=503, body=b'{"detail": ""}'), UNEXPECTED),
        (responded(status=503, body=b"busy", headers={"retry-after": "1"}), UNEXPECTED),
        (responded(status=504, body=b"late"), UNEXPECTED),
        (responded(status=422, body=b'{"detail": ""}'), UNEXPECTED),
    ],
)
def test_an_outcome_that_violates_an_assertion_is_reported(outcome: Outcome, assertion: str | None) -> None:
    assert violated(outcome) == assertion


def test_an_injected_fault_allows_a_500_and_nothing_else() -> None:
    assert violated(responded(status=500, body=CONSTANT_500), fault=True) is None
    assert violated(responded(body=b'{"translation": "B"}'), fault=True) == WRONG
    assert violated(no_response(TRANSLATION, "response timeout"), fault=True) == MISSING


def test_golden_answers_differ_from_any_other_body() -> None:
    batch = {"results": [{"label": "POSITIVE", "score": 0.9}, {"label": "NEGATIVE", "score": 0.8}]}
    first, second = batch["results"]
    assert same(batch, {"results": [{**first, "score": 0.90001}, second]})
    for results in ([second, first], [first], [first, {**second, "label": "POSITIVE"}], [first, None], None):
        assert not same(batch, {"results": results}), results


def test_a_server_that_refuses_too_many_requests_is_reported() -> None:
    late = [responded(status=504, body=b'{"detail": ""}')]
    assert not assertions.check_answered_share([responded()] * 9 + late, lambda *_: False)
    assert assertions.check_answered_share([responded()] * 8 + late * 2, lambda *_: False)
    assert not assertions.check_answered_share([responded()] * 8 + late * 2, lambda *_: True)


def metrics(**changed: int) -> ServerMetrics:
    """Those of an idle batching server after three requests, and one for the metrics themselves."""
    counts = {
        "received": 4,
        "ok": 1,
        "failed": 1,
        "late": 1,
        "admitted": 3,
        "answered": 1,
        "slots": 0,
    } | changed
    lines = [f"gap_received_total {counts['received']}"]
    for status, name in ((200, "ok"), (500, "failed"), (504, "late")):
        lines.append(f'gap_requests_total{{route="/translate",status="{status}"}} {counts[name]}')
    for name in ("admitted", "answered", "failed"):
        lines.append(f'gap_{name}_total{{task="translation"}} {counts[name]}')
    lines.append('gap_dropped_total{task="translation",cause="deadline_passed"} 1')
    lines.append(f'gap_occupied_slots{{task="translation"}} {counts["slots"]}')
    return ServerMetrics("\n".join([*lines, ""]))


def test_counters_that_contradict_each_other_are_reported() -> None:
    assert assertions.check_counters(metrics()) == []
    for changed in (
        {"received": 5},
        {"ok": 2, "received": 5},
        {"admitted": 4},
        {"answered": 2},
        {"late": 0, "received": 3},
        {"slots": 1},
    ):
        assert assertions.check_counters(metrics(**changed)), changed


def test_counters_that_contradict_the_clients_are_reported() -> None:
    before, after = ServerMetrics(""), metrics(failed=0, late=0)
    assert assertions.check_counters_against_clients(before, after, [responded()]) == []
    assert assertions.check_counters_against_clients(after, after, []) == []
    assert assertions.check_counters_against_clients(before, after, [responded()] * 2)
    assert assertions.check_counters_against_clients(before, after, [])
    assert (
        assertions.check_counters_against_clients(before, after, [no_response(CLOSING, DISCONNECTED)]) == []
    )


def test_leaks_are_reported() -> None:
    before = ProcessUsage(100_000_000, 20, 10)
    assert assertions.check_leaks(before, ProcessUsage(104_000_000, 22, 12), 0.1) == []
    assert len(assertions.check_leaks(before, ProcessUsage(120_000_000, 30, 10), 0.1)) == 2


def test_the_same_seed_generates_the_same_requests_and_every_kind() -> None:
    def generate(seed: int) -> list[Request]:
        requests = RequestGenerator(GOLDEN, MIXES["optimized"], seed).draw()
        return [next(requests) for _ in range(2_000)]

    requests = generate(1)
    assert requests == generate(1) != generate(2)
    assert {request.kind for request in requests} == {*RequestGenerator(GOLDEN, MIXES["optimized"], 1).kinds}
    assert {request.delivery for request in requests} == {*Delivery}
    golden = [request.golden for request in requests if request.kind == "beam search"]
    assert golden and all(one == {"translation": "AA"} for one in golden)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def client_of(serve: Serve) -> AsyncIterator[Client]:
    """A client of a server that runs `serve` for every connection."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = Client(
            f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Plan("baseline", timeout_ms=-14_500)
        )
        yield client
        client.close()


def send_one(serve: Serve) -> Outcome:
    async def scenario() -> Outcome:
        async with client_of(serve) as client:
            return await client.send(TRANSLATION)

    return asyncio.run(scenario())


BODY = b'{"translation": "A"}'
KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n" + BODY
OK = KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\n" + BODY


@pytest.mark.parametrize(
    ("sent", "assertion"),
    [
        (OK, None),
        (TO_THE_END, None),
        (OK + OK, EXTRA),
        (OK[:-5], MISSING),
        (b"", MISSING),
        (b"no HTTP\r\n\r\n", MISSING),
        (OK.replace(b'"A"', b'"B"'), WRONG),
    ],
)
def test_a_client_records_what_a_server_does_wrong(sent: bytes, assertion: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(sent)
        await writer.drain()
        writer.close()

    assert violated(send_one(serve)) == assertion


def test_an_extra_response_between_two_requests_is_recorded() -> None:
    async def scenario() -> tuple[Outcome, Outcome]:
        answered, sent = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            writer.write(KEPT)
            await answered.wait()
            writer.write(KEPT)
            sent.set()
            await reader.readuntil(b"{}")
            writer.write(KEPT)

        async with client_of(serve) as client:
            first = await client.send(TRANSLATION)
            answered.set()
            await sent.wait()
            return first, await client.send(TRANSLATION)

    first, second = asyncio.run(scenario())
    assert violated(first) is None
    assert second.extra == KEPT and second.response == first.response


def test_a_client_does_not_wait_forever() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert send_one(serve).reason == "response timeout"
