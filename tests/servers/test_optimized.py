"""The optimized server's own promises: light, batch-proof, cached, never blocked."""

import os
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import httpx
import pytest
from conftest import EMBEDDED, serving
from hypothesis import given
from hypothesis import strategies as st

from benchmark.measure import loopback
from benchmark.measure.redis_server import RedisProcess, running_redis
from benchmark.runs.environment import ROOT
from locustfiles.inputs import unique
from optimized.config import Settings
from optimized.models import Models
from optimized.runtime.onnx_files import find_onnx_files
from optimized.thread_pool import split


@pytest.fixture(scope="module")
def models() -> Models:
    files = (find_onnx_files(EMBEDDED, task) for task in ("translation", "sentiment"))
    return Models(*files, Settings(threads=1))


def test_neither_torch_nor_transformers_is_loaded() -> None:
    code = """
import sys
from pathlib import Path
import optimized.server
from optimized.config import Settings
from optimized.models import Models
from optimized.runtime.onnx_files import find_onnx_files
files = (find_onnx_files(Path(sys.argv[1]), task) for task in ("translation", "sentiment"))
Models(*files, Settings())
heavy = {"torch", "transformers", "optimum", "onnx", "pandas", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, str(EMBEDDED)], cwd=ROOT, check=True)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=64), st.integers(1, 2_000))
def test_a_batch_is_split_within_its_token_budget(lengths: list[int], budget: int) -> None:
    batch = [[index] * length for index, length in enumerate(lengths)]
    parts = split(batch, budget)
    assert [token_ids for part in parts for token_ids in part] == batch
    assert all(len(part) == 1 or sum(map(len, part)) <= budget for part in parts)
    for part, following in pairwise(parts):
        assert sum(map(len, [*part, following[0]])) > budget, "a part ends early"


def random_batches(count: int, draw: random.Random) -> list[list[int]]:
    order = list(range(count))
    draw.shuffle(order)
    batches = []
    while order:
        size = draw.randrange(1, 33)
        batches.append(order[:size])
        order = order[size:]
    return batches


def test_a_translation_does_not_depend_on_its_batch(models: Models) -> None:
    texts = [sample.text for sample in islice(unique("translation", 3), 300)]
    tokens = [models.translator.tokenize(text) for text in texts]
    alone = [models.translator.translate([ids])[0] for ids in tokens]
    draw = random.Random(5)
    for _ in range(2):
        for batch in random_batches(len(texts), draw):
            together = models.translator.translate([tokens[index] for index in batch])
            assert together == [alone[index] for index in batch]


def test_a_sentiment_hardly_depends_on_its_batch(models: Models) -> None:
    texts = [sample.text for sample in islice(unique("sentiment", 3), 300)]
    tokens = [models.classifier.tokenize(text) for text in texts]
    alone = [models.classifier.classify([ids])[0] for ids in tokens]
    for batch in random_batches(len(texts), random.Random(5)):
        for found, index in zip(
            models.classifier.classify([tokens[index] for index in batch]), batch, strict=True
        ):
            assert found.label == alone[index].label
            assert abs(found.score - alone[index].score) < 1e-3


@pytest.fixture(scope="module")
def cached(cache: RedisProcess, tmp_path_factory: pytest.TempPathFactory):
    cache.command("FLUSHALL")
    with (
        serving("optimized", tmp_path_factory.mktemp("cached"), REDIS_URL=cache.url) as running,
        loopback.Client(base_url=running.url, timeout=60.0) as client,
    ):
        yield client


def test_the_second_answer_is_a_hit_and_the_same(cached: httpx.Client) -> None:
    for route, text in (("/translate", "A woman is reading a book."), ("/sentiment", "a fine film")):
        first, second = (cached.post(route, json={"text": text}) for _ in range(2))
        assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
        assert first.json() == second.json()


def test_a_batch_and_single_requests_share_the_cache(cached: httpx.Client) -> None:
    texts = ["A dog is running.", "A cat is sleeping.", "A dog is running."]
    assert cached.post("/translate/batch", json={"texts": texts}).headers["x-cache"] == "miss"
    assert cached.post("/translate", json={"text": texts[1]}).headers["x-cache"] == "hit"
    assert cached.post("/translate/batch", json={"texts": texts[::-1]}).headers["x-cache"] == "hit"
    mixed = cached.post("/translate/batch", json={"texts": [texts[0], "A bird is singing."]})
    assert mixed.headers["x-cache"] == "miss"


def test_identical_requests_at_once_are_computed_once(cached: httpx.Client) -> None:
    text = "Several people in orange vests are repairing an old boat on the beach while a dog watches."
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: cached.post("/translate", json={"text": text}), range(16)))
    outcomes = [answer.headers["x-cache"] for answer in answers]
    assert outcomes.count("miss") == 1
    assert set(outcomes) <= {"miss", "coalesced", "hit"}
    assert len({answer.text for answer in answers}) == 1


def test_one_bad_text_refuses_the_batch_and_computes_nothing(cached: httpx.Client) -> None:
    def misses() -> float:
        found = re.search(r'gap_cache_texts_total\{outcome="miss"\} (\S+)', cached.get("/metrics").text)
        return float(found[1]) if found else 0.0

    before = misses()
    answer = cached.post("/translate/batch", json={"texts": ["A new text.", "\u13a0"]})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "texts", 1]
    assert misses() == before


def test_io_goes_on_while_a_large_batch_is_inferred(cached: httpx.Client) -> None:
    texts = [sample.text for sample in islice(unique("translation", 11), 64)]
    with ThreadPoolExecutor(1) as pool, loopback.Client(base_url=cached.base_url, timeout=5.0) as other:
        assert other.get("/health").status_code == 200
        batch = pool.submit(lambda: cached.post("/translate/batch", json={"texts": texts}).status_code)
        alive = 0
        while not batch.done():
            assert other.get("/health").status_code == 200
            alive += not batch.done()
        assert batch.result() == 200
    assert alive >= 3


def test_a_server_without_redis_starts_and_answers(tmp_path: Path) -> None:
    with serving("optimized", tmp_path, REDIS_URL="redis://127.0.0.1:1/0") as running:
        for _ in range(3):
            answer = loopback.post(f"{running.url}/translate", json={"text": "I love you."}, timeout=30.0)
            assert (answer.status_code, answer.json()) == (200, {"translation": "Ich liebe dich."})
            assert answer.headers["x-cache"] == "miss"
        assert running.log_path.read_text().count("cache off") == 1


def test_redis_dies_and_comes_back_under_load_and_no_request_fails(tmp_path: Path) -> None:
    texts = {"I love you.": "Ich liebe dich.", "The boy is sleeping.": "Der Junge schläft."}
    with (
        running_redis() as redis,
        serving("optimized", tmp_path, REDIS_URL=redis.url) as running,
        loopback.Client(base_url=running.url, timeout=30.0) as client,
    ):

        def ask(count: int) -> list[str]:
            outcomes = []
            for index in range(count):
                text = list(texts)[index % 2]
                answer = client.post("/translate", json={"text": text})
                assert (answer.status_code, answer.json()) == (200, {"translation": texts[text]})
                outcomes.append(answer.headers["x-cache"])
            return outcomes

        assert "hit" in ask(6)
        redis.kill()
        assert "hit" not in ask(6)
        redis.start()
        while "hit" not in ask(4):
            pass
        assert running.log_path.read_text().count("cache off") == 1


@pytest.mark.parametrize("value", ["localhost:6379", "http://localhost", "redis://"])
@pytest.mark.parametrize("variable", ["GAP_REDIS_URL", "REDIS_URL"])
def test_a_bad_redis_url_names_the_variable(variable: str, value: str) -> None:
    code = "from optimized import config; from optimized.web.settings import read_settings;"
    code += " read_settings(config.Settings)"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
    )
    if value == "redis://":  # a host and port of its own are Redis's defaults
        assert ended.returncode == 0
    else:
        assert ended.returncode == 1 and f"error: {variable} has the value '{value}'" in ended.stderr
        assert "redis://USER:PASSWORD@HOST:PORT/DB" in ended.stderr
