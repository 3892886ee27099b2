"""The batching engine behind its app, on fake models or in this process: failures, deadlines, warm-up."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import EMBEDDED
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure import loopback
from benchmark.measure.processes import Server
from dynamic_batching.config import Settings
from dynamic_batching.engine import BatchingEngine
from dynamic_batching.models import MAX_WARMUP_BATCH, warmup_batches
from dynamic_batching.sequence import Sequence
from dynamic_batching.web.app import create_app
from dynamic_batching.web.sentences import TranslatedSentence
from locustfiles.inputs import unique

TIMEOUT_S = 60.0
Fake = tuple[TestClient, "FakeTranslator"]


def until(holds: Callable[[], bool]) -> None:
    """Asks the server until it holds, so often that a test which waits in vain ends."""
    for _ in range(3_000):
        if holds():
            return
    raise AssertionError("it never came to hold")


class FakeTranslator:
    """Answers in capitals; waits on "wait", fails on "fail"."""

    source_language = "en"
    max_input_tokens = 256
    unknown_id = -1
    meaningless: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def tokenize(self, text: str) -> list[int]:
        return [*text.encode()]

    def sequence(self, token_ids: list[int], num_beams: int) -> Sequence:
        return Sequence(token_ids)

    def translate(self, batch: list[list[int]]) -> list[TranslatedSentence]:
        texts = [bytes(token_ids).decode() for token_ids in batch]
        if "wait" in texts:
            self.go_on.wait()
        if "fail" in texts:
            raise RuntimeError("secret path /somewhere")
        return [TranslatedSentence(text.upper(), "stop") for text in texts]

    classify = translate


@pytest.mark.parametrize("batching", ["request", "static"])
def test_however_translations_are_batched_they_are_the_same(
    servers: Callable[[str], Server], batching: Any
) -> None:
    body = {"texts": [sample.text for sample in islice(unique("translation", 7), 40)]}
    url = f"{servers('dynamic_batching').url}/translate/batch"
    expected = loopback.post(url, json=body, timeout=TIMEOUT_S).json()
    limits = Settings(models_dir=EMBEDDED, threads=1, translation_batching=batching)
    with TestClient(create_app(BatchingEngine, limits)) as client:
        until(lambda: client.get("/ready").status_code == 200)
        assert client.post("/translate/batch", json=body).json() == expected
        beams = client.post("/translate", json={"text": "A dog.", "num_beams": 2})
        assert beams.status_code == 422 and "num_beams" in beams.text


@given(text_tokens=st.integers(1, 500), max_batch_size=st.integers(1, 5_000), max_batch_tokens=st.integers(1))
def test_a_warm_up_runs_one_text_and_as_many_as_may_run(
    text_tokens: int, max_batch_size: int, max_batch_tokens: int
) -> None:
    small, large = warmup_batches([7] * text_tokens, max_batch_size, max_batch_tokens)
    assert len(small) == 1 <= len(large) <= min(max_batch_size, MAX_WARMUP_BATCH)
    one_more = text_tokens * (len(large) + 1)
    assert len(large) == 1 or text_tokens * len(large) <= max_batch_tokens
    assert len(large) in (max_batch_size, MAX_WARMUP_BATCH) or one_more > max_batch_tokens


@pytest.fixture
def fake() -> Iterator[Fake]:
    translator = FakeTranslator()
    models: Any = SimpleNamespace(translator=translator, classifier=FakeTranslator())

    class FakeEngine(BatchingEngine):
        async def load(self) -> None:
            await self.start(models)

    app = create_app(FakeEngine, Settings(models_dir=EMBEDDED, threads=1, translation_batching="request"))
    with TestClient(app, raise_server_exceptions=False) as client:
        until(lambda: client.get("/ready").status_code == 200)
        yield client, translator
        translator.go_on.set()


def test_a_deadline_that_passes_while_a_batch_runs_is_504_at_once(
    fake: Fake,
) -> None:
    client, _ = fake
    answer = client.post("/translate", json={"text": "wait"}, headers={"X-Timeout-Ms": "300"})
    assert answer.status_code == 504 and "deadline" in answer.json()["detail"]
    assert "server-timing" in answer.headers
    counted = 'gap_dropped_total{cause="deadline_passed",task="translation"} 1.0'
    assert counted in client.get("/metrics").text


def test_a_failing_text_is_a_fixed_500_and_the_others_in_its_batch_are_answered(
    fake: Fake,
) -> None:
    client, translator = fake
    with ThreadPoolExecutor(5) as pool:
        blocker = pool.submit(client.post, "/translate", json={"text": "wait"})
        until(lambda: 'gap_pending{task="translation"} 1.0' in client.get("/metrics").text)
        asked = [pool.submit(client.post, "/translate", json={"text": text}) for text in ("a", "fail", "b")]
        until(lambda: 'gap_pending{task="translation"} 4.0' in client.get("/metrics").text)
        translator.go_on.set()
        answers = [ask.result() for ask in asked]
        assert blocker.result().json() == {"translation": "WAIT"}
    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert [answers[0].json(), answers[2].json()] == [{"translation": "A"}, {"translation": "B"}]
    assert answers[1].json() == {"detail": "internal server error"}


def test_a_batch_request_with_a_failing_text_fails_whole(fake: Fake) -> None:
    client, _ = fake
    assert client.post("/translate/batch", json={"texts": ["a", "fail", "b"]}).status_code == 500
    assert client.post("/translate/batch", json={"texts": ["a", "b"]}).json() == {"translations": ["A", "B"]}
