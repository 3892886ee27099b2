"""The baseline's own logic with fake models: readiness, deadlines, failures, threads."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from baseline.config import Settings
from baseline.engine import PyTorchEngine
from baseline.web.app import create_app
from baseline.web.model_files import FORMAT
from baseline.web.schemas import Sentiment
from baseline.web.sentences import TranslatedSentence

TEXT = {"text": "a good film"}
TIMEOUT_S = 20.0


class FakeModel:
    """Answers with what was asked, so that a mixed-up answer shows; `act` runs before each answer."""

    source_language = "en"
    max_input_tokens = 8
    unknown_id = None
    meaningless: frozenset[str] = frozenset()

    def __init__(self, answer: Callable[[str], object]) -> None:
        self.answer = answer
        self.act: Callable[[], None] = lambda: None
        self.inferred: list[str] = []

    def tokenize(self, text: str) -> list[str]:
        return [text]

    def classify(self, token_ids: list[str]) -> object:
        self.act()
        self.inferred.append(token_ids[0])
        return self.answer(token_ids[0])

    def translate(self, token_ids: list[str], num_beams: int, timeout_s: float) -> object:
        return self.classify(token_ids)


class FakeModels:
    """Both models, loaded once `loadable` is set."""

    def __init__(self) -> None:
        self.loadable = threading.Event()
        self.translator = FakeModel(lambda text: TranslatedSentence(text.upper(), "stop"))
        self.classifier = FakeModel(lambda text: Sentiment(label="POSITIVE", score=1 / len(text)))


@pytest.fixture
def models() -> FakeModels:
    return FakeModels()


@pytest.fixture
def loading(models: FakeModels, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a server whose models are loaded as soon as they are loadable."""

    class FakeEngine(PyTorchEngine):
        def load(self) -> None:
            assert models.loadable.wait(TIMEOUT_S)
            self.models = models  # type: ignore[assignment]

    names = ("translation/pytorch", "sentiment/pytorch")
    manifest = {"format": FORMAT, "artefacts": {name: {"files": {}} for name in names}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    app = create_app(FakeEngine, Settings(models_dir=tmp_path, max_batch_texts=4, max_body_bytes=200))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
        models.loadable.set()


@pytest.fixture
def client(models: FakeModels, loading: TestClient) -> TestClient:
    models.loadable.set()
    while loading.get("/ready").status_code != 200:
        pass
    return loading


def test_each_answer_belongs_to_its_text(client: TestClient) -> None:
    texts = ["a", "bb", "ccc"]
    assert client.post("/translate/batch", json={"texts": texts}).json()["translations"] == ["A", "BB", "CCC"]
    results = client.post("/sentiment/batch", json={"texts": texts}).json()["results"]
    assert [result["score"] for result in results] == [1, 1 / 2, 1 / 3]


def test_not_ready_is_503_with_retry_after(loading: TestClient) -> None:
    for answer in (loading.get("/ready"), loading.post("/translate", json=TEXT)):
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "loading" in answer.json()["detail"]
    assert loading.get("/health").status_code == 200


def test_a_failing_model_is_a_fixed_500_and_the_next_request_is_served(
    client: TestClient, models: FakeModels
) -> None:
    def fail() -> None:
        raise RuntimeError("secret path /somewhere")

    models.translator.act = fail
    answer = client.post("/translate", json=TEXT)
    assert (answer.status_code, answer.json()) == (500, {"detail": "internal server error"})
    models.translator.act = lambda: None
    assert client.post("/translate", json=TEXT).status_code == 200
    assert 'route="/translate",status="500"} 1.0' in client.get("/metrics").text


def test_a_deadline_that_passes_in_a_batch_stops_the_rest(
    client: TestClient, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("baseline.web.request_context.time.perf_counter", lambda: now_s[0])

    def take_a_second() -> None:
        now_s[0] += 1.0

    models.translator.act = take_a_second
    answer = client.post(
        "/translate/batch", json={"texts": ["a", "b", "c"]}, headers={"X-Timeout-Ms": "1500"}
    )
    assert answer.status_code == 504
    assert models.translator.inferred == ["a", "b"]


def test_the_client_cannot_lengthen_the_deadline(
    client: TestClient, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("baseline.web.request_context.time.perf_counter", lambda: now_s[0])

    def take_a_minute() -> None:
        now_s[0] += 60.0

    models.translator.act = take_a_minute
    headers = {"X-Timeout-Ms": "86400000"}
    assert client.post("/translate", json=TEXT, headers=headers).status_code == 504


def test_server_timing_counts_no_time_twice(
    client: TestClient, models: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("baseline.web.request_context.time.perf_counter", lambda: now_s[0])

    def tokenize(text: str) -> list[str]:
        now_s[0] += 1.0
        return [text]

    monkeypatch.setattr(models.translator, "tokenize", tokenize)
    # Tokenized to be split into sentences, and tokenized again to be translated.
    answer = client.post("/translate", json={"text": "A film. A good one."})
    phases = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert float(phases["tokenize"]) > 2_000 and float(phases["queue"]) == 0
    assert sum(map(float, phases.values())) == (now_s[0] - 100.0) * 1e3


def test_one_bad_text_refuses_the_whole_batch(client: TestClient, models: FakeModels) -> None:
    answer = client.post("/translate/batch", json={"texts": ["a", " ", "c"]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "texts", 1]
    assert not models.translator.inferred


def test_a_text_is_never_sent_back_in_an_error(client: TestClient) -> None:
    for body in ({"text": "secret" * 500}, {"text": ["secret"]}, {"secret" * 20: 1}):
        answer = client.post("/translate", json=body, headers={"Content-Length": "100"})
        assert answer.status_code in (413, 422)
        assert len(answer.text) < 400


def test_a_large_body_is_refused(client: TestClient) -> None:
    answer = client.post("/translate", json={"text": "a" * 300})
    assert answer.status_code == 413
    assert "200 bytes" in answer.json()["detail"]


def test_requests_run_side_by_side(client: TestClient, models: FakeModels) -> None:
    together = threading.Barrier(2, timeout=TIMEOUT_S)
    models.translator.act = lambda: together.wait() and None
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/translate", json=TEXT).status_code))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200, 200]
