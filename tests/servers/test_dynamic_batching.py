"""The dynamic batching server's own promises, seen from outside: what /metrics says, and what clients get."""

import asyncio
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import EMBEDDED, serving

from benchmark.measure import loopback
from benchmark.measure.processes import Server
from benchmark.runs.environment import ROOT
from dynamic_batching import cpu_scheduling
from dynamic_batching.config import Settings
from dynamic_batching.models import Models
from dynamic_batching.runtime.onnx_files import find_onnx_files
from locustfiles.inputs import unique

TIMEOUT_S = 60.0
LONG = "a slow and long and winding film about a man and his dog " * 12


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("dynamic_batching", tmp_path_factory.mktemp("batching"), GAP_THREADS="1") as server:
        yield server


def texts_of(task: str, count: int, seed: int = 7) -> list[str]:
    return [sample.text for sample in islice(unique(task, seed), count)]


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    page = loopback.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    total = 0.0
    for line in page.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total


def check_counts(server: Server) -> None:
    """Every admitted request is answered, failed, dropped or pending, in one page."""
    page = loopback.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    for task in ("translation", "sentiment"):

        def total(name: str, task: str = task) -> float:
            return sum(float(n) for n in re.findall(rf'^{name}{{.*task="{task}".*}} (\S+)$', page, re.M))

        ended = total("gap_answered_total") + total("gap_failed_total") + total("gap_dropped_total")
        assert total("gap_admitted_total") == ended + total("gap_pending")


def ask_at_once(server: Server, route: str, bodies: list[dict[str, object]]) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(bodies))
        async with loopback.AsyncClient(base_url=server.url, timeout=TIMEOUT_S, limits=limits) as client:
            return await asyncio.gather(*(client.post(route, json=body) for body in bodies))

    return asyncio.run(main())


def open_request(server: Server, route: str, body: dict[str, object]) -> http.client.HTTPConnection:
    """A request that was sent, its answer not read."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(server.url.rpartition(":")[2]), timeout=TIMEOUT_S
    )
    connection.request("POST", route, json.dumps(body), {"Content-Type": "application/json"})
    return connection


def read_answer(connection: http.client.HTTPConnection) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and body."""
    answer = connection.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, headers, json.loads(answer.read())


class Occupied:
    """Keeps the worker of a task busy with batch requests, so that others wait."""

    def __init__(self, server: Server, route: str) -> None:
        self.url = f"{server.url}{route}/batch"
        self.ended = threading.Event()
        self.statuses: list[int] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(3)]

    def _ask(self) -> None:
        with loopback.Client(timeout=TIMEOUT_S) as client:
            while not self.ended.is_set():
                answer = client.post(self.url, json={"texts": [LONG] * 64})
                self.statuses.append(answer.status_code)

    def __enter__(self) -> "Occupied":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


def until(holds: Callable[[], bool]) -> None:
    """Asks the server until it holds, so often that a test which waits in vain ends."""
    for _ in range(3_000):
        if holds():
            return
    raise AssertionError("it never came to hold")


def test_neither_torch_nor_transformers_nor_redis_is_loaded() -> None:
    code = """
import sys
from pathlib import Path
import dynamic_batching.server
from dynamic_batching.config import Settings
from dynamic_batching.models import Models
from dynamic_batching.runtime.onnx_files import find_onnx_files
files = (find_onnx_files(Path(sys.argv[1]), task) for task in ("translation", "sentiment"))
Models(*files, Settings())
heavy = {"torch", "transformers", "optimum", "onnx", "pandas", "scipy", "redis"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, str(EMBEDDED)], cwd=ROOT, check=True)


def test_requests_that_arrive_one_by_one_leave_as_batches(running: Server) -> None:
    texts = texts_of("sentiment", 96)
    names = ("gap_batch_size_count", "gap_batch_size_sum")
    before = [metric(running, name, task="sentiment") for name in names]
    answers = ask_at_once(running, "/sentiment", [{"text": text} for text in texts])
    assert {answer.status_code for answer in answers} == {200}
    batches, run = (
        metric(running, name, task="sentiment") - old for name, old in zip(names, before, strict=True)
    )
    assert run == len(texts) and batches < len(texts) / 2
    check_counts(running)


def test_the_event_loop_interrupts_no_worker(running: Server) -> None:
    assert os.sched_getscheduler(running.pid) == os.SCHED_BATCH
    threads = [int(thread.name) for thread in Path(f"/proc/{running.pid}/task").iterdir()]
    slices = [cpu_scheduling.slice_s(thread) for thread in threads]
    assert slices.count(cpu_scheduling.WORKER_SLICE_S) == 2 or None in slices


def test_translations_share_their_decoding_steps(running: Server) -> None:
    texts = texts_of("translation", 96)
    names = ("gap_batch_size_count", "gap_batch_size_sum", "gap_joined_total", "gap_left_total")
    before = [metric(running, name, task="translation") for name in names]
    answers = ask_at_once(running, "/translate", [{"text": text} for text in texts])
    assert {answer.status_code for answer in answers} == {200}
    steps, tokens, joined, left = (
        metric(running, name, task="translation") - old for name, old in zip(names, before, strict=True)
    )
    assert joined == left == len(texts)
    assert tokens >= 2 * steps, "steps decode more than one text"
    assert metric(running, "gap_occupied_slots", task="translation") == 0
    check_counts(running)


def test_answers_in_a_batch_are_those_of_single_requests(running: Server) -> None:
    with loopback.Client(base_url=running.url, timeout=TIMEOUT_S) as client:
        for task, route in (("translation", "/translate"), ("sentiment", "/sentiment")):
            bodies: list[dict[str, object]] = [{"text": text} for text in texts_of(task, 64, seed=21)]
            alone = [client.post(route, json=body).json() for body in bodies]
            together = [answer.json() for answer in ask_at_once(running, route, bodies)]
            if task == "translation":
                assert together == alone
            else:
                assert [answer["label"] for answer in together] == [answer["label"] for answer in alone]
                for one, other in zip(together, alone, strict=True):
                    assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_long_translations_among_short_ones_are_those_of_each_alone(running: Server) -> None:
    short = texts_of("translation", 60, seed=33)
    long = [", ".join(text.rstrip(".") for text in short[at : at + 8]) for at in range(0, 60, 10)]
    texts = [
        text for at, text in enumerate(short) for text in ([long[at // 10], text] if at % 10 == 5 else [text])
    ]
    bodies: list[dict[str, object]] = [{"text": text} for text in texts]
    with loopback.Client(base_url=running.url, timeout=TIMEOUT_S) as client:
        alone = [client.post("/translate", json=body).json() for body in bodies]
    names = ("gap_joined_total", "gap_prefill_seconds_total")
    before = [metric(running, name, task="translation") for name in names]
    assert [answer.json() for answer in ask_at_once(running, "/translate", bodies)] == alone
    joined, prefill_s = (
        metric(running, name, task="translation") - old for name, old in zip(names, before, strict=True)
    )
    assert joined == len(texts) and prefill_s > 0
    assert metric(running, "gap_occupied_slots", task="translation") == 0
    check_counts(running)


def test_a_translation_does_not_depend_on_its_batch() -> None:
    files = (find_onnx_files(EMBEDDED, task) for task in ("translation", "sentiment"))
    translator = Models(*files, Settings(threads=1)).translator
    tokens = [translator.tokenize(text) for text in texts_of("translation", 100)]
    alone = [translator.translate([ids])[0] for ids in tokens]
    order = list(range(len(tokens)))
    random.Random(5).shuffle(order)
    for start in range(0, len(order), 23):
        batch = order[start : start + 23]
        assert translator.translate([tokens[index] for index in batch]) == [alone[index] for index in batch]


def test_the_phases_of_the_header_fit_in_the_request_s_time(running: Server) -> None:
    answer = loopback.post(f"{running.url}/sentiment/batch", json={"texts": [LONG] * 40}, timeout=TIMEOUT_S)
    phases = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
    assert list(phases) == ["tokenize", "queue", "inference"]
    total_ms = sum(map(float, phases.values()))
    assert float(phases["inference"]) > 0 and total_ms <= answer.elapsed.total_seconds() * 1e3 + 1


def test_a_client_that_disconnects_costs_no_inference(running: Server) -> None:
    def dropped() -> float:
        return metric(running, "gap_dropped_total", task="sentiment", cause="disconnected")

    before, size_before = dropped(), metric(running, "gap_batch_size_sum", task="sentiment")
    with Occupied(running, "/sentiment") as occupied:
        until(lambda: metric(running, "gap_queue_requests", task="sentiment") >= 2)
        for _ in range(20):
            open_request(running, "/sentiment", {"text": "nobody waits for this"}).close()
        until(lambda: dropped() == before + 20)
    assert set(occupied.statuses) == {200}
    computed = metric(running, "gap_batch_size_sum", task="sentiment") - size_before
    assert computed == 64 * len(occupied.statuses)
    check_counts(running)


def test_a_deadline_is_refused_at_once_where_the_queue_is_long(running: Server) -> None:
    with Occupied(running, "/sentiment") as occupied:
        until(lambda: metric(running, "gap_queue_requests", task="sentiment") >= 2)
        answer = loopback.post(
            f"{running.url}/sentiment",
            json={"text": "a film"},
            headers={"X-Timeout-Ms": "20"},
            timeout=TIMEOUT_S,
        )
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert metric(running, "gap_refused_total", cause="deadline_unmeetable") >= 1
    assert set(occupied.statuses) == {200}


def test_one_bad_text_refuses_the_batch_and_admits_nothing(running: Server) -> None:
    before = metric(running, "gap_admitted_total")
    answer = loopback.post(
        f"{running.url}/translate/batch", json={"texts": ["A text.", "\u13a0"]}, timeout=TIMEOUT_S
    )
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "texts", 1]
    assert metric(running, "gap_admitted_total") == before


def test_overload_is_refused_while_what_was_accepted_is_answered(tmp_path: Path) -> None:
    with serving("dynamic_batching", tmp_path, GAP_THREADS="1", GAP_QUEUE_SIZE="8") as server:
        bodies: list[dict[str, object]] = [{"text": f"{LONG} {number}"} for number in range(200)]
        answers = ask_at_once(server, "/sentiment", bodies)
        refused = [answer for answer in answers if answer.status_code == 503]
        accepted = [answer for answer in answers if answer.status_code == 200]
        assert len(refused) + len(accepted) == 200 and refused and len(accepted) >= 8
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert all("server-timing" in answer.headers for answer in accepted)
        assert metric(server, "gap_refused_total", cause="queue_full") == len(refused)
        assert metric(server, "gap_answered_total", task="sentiment") == len(accepted)
        check_counts(server)


def stop_with_pending(
    server: Server, requests: int, texts: int
) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
    """The answers to batch requests of long texts that were admitted when the server was asked to stop."""
    asked = [open_request(server, "/sentiment/batch", {"texts": [LONG] * texts}) for _ in range(requests)]
    until(lambda: metric(server, "gap_admitted_total", task="sentiment") == requests)
    assert metric(server, "gap_pending", task="sentiment"), "all were answered before the stop"
    server.process.send_signal(signal.SIGTERM)
    answers = [read_answer(connection) for connection in asked]
    assert server.process.wait(20) == 0
    assert "Traceback" not in server.log_path.read_text()
    return answers


def test_a_stop_answers_what_was_admitted(tmp_path: Path) -> None:
    # More than any machine is done with before it is asked to stop, and time enough for it.
    settings = {"GAP_THREADS": "1", "GAP_DRAIN_TIMEOUT_MS": "60000"}
    with serving("dynamic_batching", tmp_path, **settings) as server:
        for status, _, body in stop_with_pending(server, 3, 64):
            assert status == 200 and len(body["results"]) == 64
