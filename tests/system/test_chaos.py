"""The chaos run: its short form against every server, and that it sees what it looks for."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED, SERVERS

from chaos.asks import GONE_WAITING, Ask, Asks
from chaos.clients import Client, Outcome
from chaos.counters import Counts, contradictions, disagreements
from chaos.plan import MIXES, SHORT, Plan
from chaos.resources import Resources, leaks
from chaos.run import run
from chaos.summary import record
from chaos.texts import Known
from chaos.verdicts import LOST, SURPLUS, UNEXPECTED, WRONG, breach, unanswered
from chaos.wire import Answer
from dynamic_batching.config import Settings
from dynamic_batching.models import Models
from dynamic_batching.runtime.onnx_files import find_onnx_files

KNOWN = Known(
    {
        ("translation", 1): {"a": "A", "b": "B"},
        ("translation", 3): {"a": "AA"},
        ("sentiment", 1): {
            "c": {"label": "POSITIVE", "score": 0.9},
            "d": {"label": "NEGATIVE", "score": 0.8},
        },
    }
)
ONE = Ask("valid", "/translate", b"{}", task="translation", texts=("a",))


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_keeps_answering_whatever_goes_wrong(name: str, tmp_path: Path) -> None:
    result = run(Plan(name, **SHORT), EMBEDDED, tmp_path / "log", lambda line: None)  # type: ignore[arg-type]
    assert not result.breaches, record(result)
    assert len(result.outcomes) > SHORT["requests"]


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


def outcome(ask: Ask = ONE, status: int = 200, body: bytes = b'{"translation": "A"}', **more: Any) -> Outcome:
    return Outcome(ask, 1.0, 2.0, Answer(status, more.pop("headers", {}), body), **more)


def judged(found: Outcome, excused: bool = False) -> str | None:
    what = breach(found, KNOWN, lambda task, start_s, end_s: excused)
    return what[0] if what else None


BATCH = replace(ONE, batch=True, texts=("a", "b"))
FILM = Ask("valid", "/sentiment", b"{}", task="sentiment", texts=("c",))
POISONED = replace(ONE, poisoned=True, statuses=frozenset({500}))
FIXED = b'{"detail": "internal server error"}'


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (outcome(), None),
        (outcome(body=b'{"translation": "B"}'), WRONG),
        (outcome(body=b"not json"), WRONG),
        (outcome(replace(ONE, num_beams=3)), WRONG),
        (outcome(BATCH, body=b'{"translations": ["A", "B"]}'), None),
        (outcome(BATCH, body=b'{"translations": ["B", "A"]}'), WRONG),
        (outcome(BATCH, body=b'{"translations": ["A"]}'), WRONG),
        (outcome(FILM, body=b'{"label": "POSITIVE", "score": 0.90001}'), None),
        (outcome(FILM, body=b'{"label": "POSITIVE", "score": 0.91}'), WRONG),
        (outcome(FILM, body=b'{"label": "NEGATIVE", "score": 0.9}'), WRONG),
        (Outcome(ONE, 1.0, 2.0, lost="closed without an answer"), LOST),
        (Outcome(replace(ONE, mute=True), 1.0, 2.0, lost="closed without an answer"), None),
        (Outcome(replace(ONE, manner=GONE_WAITING), 1.0, 2.0, lost="left early"), None),
        (Outcome(replace(ONE, manner=GONE_WAITING), 1.0, 2.0, lost="no connection: refused"), LOST),
        (outcome(surplus=b"HTTP/1.1 200 OK"), SURPLUS),
        (outcome(status=500, body=FIXED), UNEXPECTED),
        (outcome(POISONED, status=500, body=FIXED), None),
        (outcome(POISONED, status=500, body=b'{"detail": "/home/x.py"}'), UNEXPECTED),
        (outcome(POISONED), UNEXPECTED),
        (outcome(status=503, body=b'{"detail": ""}', headers={"retry-after": "1"}), None),
        (outcome(status=503, body=b'{"detail": ""}'), UNEXPECTED),
        (outcome(status=504, body=b"late"), UNEXPECTED),
        (outcome(status=422, body=b'{"detail": ""}'), UNEXPECTED),
    ],
)
def test_a_breach_is_seen(found: Outcome, verdict: str | None) -> None:
    assert judged(found) == verdict


def test_an_injected_fault_excuses_a_500_and_nothing_else() -> None:
    assert judged(outcome(status=500, body=FIXED), excused=True) is None
    assert judged(outcome(body=b'{"translation": "B"}'), excused=True) == WRONG
    assert judged(Outcome(ONE, 1.0, 2.0, lost="no answer in time"), excused=True) == LOST


def test_a_server_that_refuses_too_much_fails() -> None:
    late = [outcome(status=504, body=b'{"detail": ""}')]
    assert unanswered([outcome()] * 9 + late, lambda *_: False) is None
    assert unanswered([outcome()] * 8 + late * 2, lambda *_: False)
    assert unanswered([outcome()] * 8 + late * 2, lambda *_: True) is None


def page(**changed: int) -> str:
    """The /metrics of a batching server at rest after three requests, and this one for the page itself."""
    counts = {"received": 4, "ok": 1, "failed": 1, "late": 1, "admitted": 3, "answered": 1} | changed
    lines = [f"gap_received_total {counts['received']}"]
    for status, name in ((200, "ok"), (500, "failed"), (504, "late")):
        lines.append(f'gap_requests_total{{route="/translate",status="{status}"}} {counts[name]}')
    for name in ("admitted", "answered", "failed"):
        lines.append(f'gap_{name}_total{{task="translation"}} {counts[name]}')
    lines.append('gap_dropped_total{task="translation",cause="deadline_passed"} 1')
    return "\n".join(
        [
            *(
                f"# TYPE {line.partition('{')[0].partition(' ')[0].removesuffix('_total')} counter\n{line}"
                for line in lines
            ),
            "",
        ]
    )


def test_counts_that_add_up_are_accepted_and_others_are_not() -> None:
    assert contradictions(Counts(page())) == []
    for changed in ({"received": 5}, {"ok": 2, "received": 5}, {"admitted": 4}, {"answered": 2}, {"late": 0}):
        assert contradictions(Counts(page(**changed))), changed


def test_a_server_must_count_what_its_clients_saw() -> None:
    empty, counts = Counts(""), Counts(page(failed=0, late=0))
    assert disagreements(empty, counts, [outcome()]) == []
    assert disagreements(counts, counts, []) == []
    assert disagreements(empty, counts, [outcome()] * 2)
    assert disagreements(empty, counts, [])
    unseen = Outcome(replace(ONE, manner=GONE_WAITING), 1.0, 2.0, lost="left early")
    assert disagreements(empty, counts, [unseen]) == []


def test_leaks_are_seen() -> None:
    before = Resources(100_000_000, 20, 10)
    assert leaks(before, Resources(104_000_000, 22, 12), 0.1) == []
    assert len(leaks(before, Resources(120_000_000, 30, 10), 0.1)) == 2


def test_the_same_seed_sends_the_same_and_every_kind() -> None:
    def drawn(seed: int) -> list[Ask]:
        draws = Asks(KNOWN, MIXES["optimized"], seed).draw()
        return [next(draws) for _ in range(2_000)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {ask.kind for ask in drawn(1)} == set(MIXES["optimized"].shares)


def against(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], ask: Ask
) -> Outcome:
    """What a client makes of a server that does `serve` with every connection."""

    async def scenario() -> Outcome:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            client = Client(server.sockets[0].getsockname()[1], 0.5, 0.01)
            return await client.perform(ask)

    return asyncio.run(scenario())


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n" + b'{"translation": "A"}'


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [(OK, None), (OK + OK, SURPLUS), (OK[:-5], LOST), (b"", LOST), (OK.replace(b'"A"', b'"B"'), WRONG)],
)
def test_a_client_sees_what_a_server_does_wrong(sent: bytes, verdict: str | None) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(sent)
        await writer.drain()
        writer.close()

    assert judged(against(serve, ONE)) == verdict


def test_a_client_does_not_wait_forever() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert against(serve, ONE).lost == "no answer in time"
