"""An open loop sends by its schedule, whatever the server does, and keeps what became of each request."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import EMBEDDED
from scipy.stats import kstest
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.measure.load import OPEN_LOOP, Load
from benchmark.runs.records import read_json
from benchmark.stats.open_loop import COLUMNS, figures
from locustfiles.arrivals import arrivals
from optimized.web.cpus import allowed_cpus

RIGHT = (200, "", {"translation": "gut"})
REFUSED = (503, "Retry-After: 1\r\n", {"detail": "the queue is full"})
UNEXPLAINED = (503, "", {"detail": "no"})
EXPIRED = (504, "", {"detail": "the deadline passed"})
EMPTY = (200, "", {"translation": ""})

Answer = tuple[int, str, dict[str, str]]


@dataclass
class Scripted:
    """An HTTP server that answers request number n (from 1) with `script(n)`, and counts."""

    script: Callable[[int], Awaitable[Answer]]
    url: str = ""
    requests: int = 0
    connections: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    timeouts: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                self.requests += 1
                self.timeouts.add(headers.get("x-timeout-ms", ""))
                status, more, content = await self.script(self.requests)
                self.statuses[status] += 1
                body = json.dumps(content)
                head = f"HTTP/1.1 {status} Scripted\r\n{more}Content-Length: {len(body)}\r\n\r\n"
                writer.write((head + body).encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@contextmanager
def scripted(script: Callable[[int], Awaitable[Answer]]) -> Iterator[Scripted]:
    """A Scripted server on a loopback port, on a thread of its own while the block runs."""
    server = Scripted(script)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def main() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, backlog=2048)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        await stopped.wait()
        listening.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


@dataclass
class Loaded:
    """What a load run left: its requests in the order of the schedule, its last report, and its log."""

    requests: pd.DataFrame
    end: dict[str, Any]
    log: str


def load(server: Scripted, folder: Path, **options: object) -> Loaded:
    path = folder / "requests.csv.xz"
    options |= {"task": "translation", "requests_file": path}
    process = Load(server.url, options, tuple(allowed_cpus()), folder / "load.log", OPEN_LOOP)
    try:
        events = list(process.events())
        assert process.process.wait(30) == 0, process.last_line()
    finally:
        process.stop()
    requests = pd.read_csv(path, dtype=COLUMNS).sort_values("start_s", ignore_index=True)
    return Loaded(requests, events[-1], process.log_path.read_text())


def schedule(rate: float, seconds: float, seed: int = 0) -> list[float]:
    return list(takewhile(lambda at_s: at_s < seconds, arrivals(rate, seed)))


def test_arrivals_are_a_poisson_process() -> None:
    rate = 40.0
    at_s = schedule(rate, 100, seed=7)
    gaps_s = np.diff([0.0, *at_s])
    assert (gaps_s > 0).all()
    assert kstest(gaps_s, "expon", args=(0, 1 / rate)).pvalue > 0.05
    # Counts of a second: the variance of a Poisson process is its mean.
    counts = np.histogram(at_s, bins=100, range=(0, 100))[0]
    assert counts.mean() == pytest.approx(rate, rel=0.05)
    assert counts.var() == pytest.approx(rate, rel=0.4)


def test_a_seed_gives_the_same_arrivals_again_and_another_gives_others() -> None:
    assert schedule(40, 10, seed=1) == schedule(40, 10, seed=1) != schedule(40, 10, seed=2)
    with pytest.raises(ValueError, match="over 0"):
        next(arrivals(0))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scripted, Loaded]:
    """A run against a server that answers, refuses, expires and errs in turn."""
    turns = (RIGHT, REFUSED, UNEXPLAINED, EXPIRED, EMPTY)

    async def script(number: int) -> Answer:
        return turns[number % len(turns)]

    with scripted(script) as server:
        folder = tmp_path_factory.mktemp("mixed")
        return server, load(server, folder, rate=60, seed=3, warmup_s=0.5, measure_s=1, timeout_ms=1234)


def test_every_request_is_kept_with_what_became_of_it(mixed: tuple[Scripted, Loaded]) -> None:
    server, loaded = mixed
    assert list(loaded.requests.columns) == list(COLUMNS)
    assert len(loaded.requests) == server.requests
    by_status = Counter(loaded.requests["status"])
    assert by_status == server.statuses
    became = Counter(zip(loaded.requests["outcome"], loaded.requests["error"].fillna(""), strict=True))
    turn = server.requests // 5
    assert {what for what, count in became.items() if count in (turn, turn + 1)} == {
        ("right", ""),
        ("refused", "refused"),
        ("expired", "expired"),
        ("wrong", "HTTP 503 without Retry-After"),
        ("wrong", "empty translation"),
    }
    assert (loaded.requests["ok"] == (loaded.requests["outcome"] == "right")).all()


def test_requests_are_scheduled_by_the_seed_and_the_window_opens_after_the_warmup(
    mixed: tuple[Scripted, Loaded],
) -> None:
    _, loaded = mixed
    expected = np.array(schedule(60, 1.5, seed=3)) - 0.5
    assert loaded.requests["start_s"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_the_clients_deadline_is_sent_and_connections_are_used_again(mixed: tuple[Scripted, Loaded]) -> None:
    server, _ = mixed
    assert server.timeouts == {"1234"}
    assert server.connections < server.requests


def test_a_stalled_server_is_sent_to_all_the_same_and_each_request_feels_the_stall(tmp_path: Path) -> None:
    held = 20
    came = asyncio.Event()

    async def script(number: int) -> Answer:
        # A client that waits for an answer before it sends again would never make it to `held`.
        if number >= held:
            came.set()
        await came.wait()
        return RIGHT

    with scripted(script) as server:
        loaded = load(server, tmp_path, rate=40, warmup_s=0, measure_s=1)
    requests = loaded.requests
    assert len(requests) == len(schedule(40, 1)) > held
    assert (requests["outcome"] == "right").all()
    ends_s = requests["start_s"] + requests["latency_ms"] / 1e3
    assert (ends_s[:held] >= requests["start_s"][held - 1]).all()


def test_a_generator_that_is_late_counts_from_the_schedule_and_says_so(tmp_path: Path) -> None:
    async def script(number: int) -> Answer:
        return RIGHT

    with scripted(script) as server:
        # A request in 50 microseconds is beyond any Python client.
        loaded = load(server, tmp_path, rate=20_000, warmup_s=0, measure_s=0.04, drain_s=30)
    assert (loaded.requests["outcome"] == "right").all()
    assert (loaded.requests["latency_ms"] >= loaded.requests["send_lag_ms"]).all()
    assert loaded.end["behind"] and "fell behind" in loaded.log
    assert figures(loaded.requests, 0.04, 1000)["generator_behind"]


def test_a_request_without_an_answer_is_kept_as_unanswered(tmp_path: Path) -> None:
    async def script(number: int) -> Answer:
        if number % 2:
            await asyncio.Event().wait()
        return RIGHT

    with scripted(script) as server:
        loaded = load(server, tmp_path, rate=40, warmup_s=0, measure_s=0.5, drain_s=1)
    became = Counter(loaded.requests["outcome"])
    assert became == {"right": server.requests // 2, "unanswered": server.requests - server.requests // 2}
    unanswered = loaded.requests[loaded.requests["outcome"] == "unanswered"]
    assert (unanswered["start_s"] + unanswered["latency_ms"] / 1e3 >= 0.5).all()


def rows(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"start_s": 0.5, "latency_ms": 10.0, "send_lag_ms": 0.1, **columns})


def test_figures_are_of_the_requests_scheduled_within_the_window() -> None:
    requests = rows(
        start_s=[-0.1, 0.0, 1.0, 1.9, 2.0],
        latency_ms=[9.0, 50.0, 3000.0, 2.0, 9.0],
        outcome=["right", "right", "right", "refused", "wrong"],
    )
    found = figures(requests, 2.0, deadline_ms=1000)
    assert (found["requests"], found["offered_rps"], found["goodput_rps"]) == (3, 1.5, 0.5)
    assert {name: found[name] for name in ("right", "late", "refused", "wrong")} == {
        "right": 1,
        "late": 1,
        "refused": 1,
        "wrong": 0,
    }
    assert found["refused_share"] == pytest.approx(1 / 3)
    assert found["p50_ms"] is None, "under its sample floor"
    assert not found["generator_behind"]


@pytest.mark.parametrize(("expired", "p95"), [(0, True), (4, True), (10, False), (60, False)])
def test_a_p95_is_not_that_of_the_survivors(expired: int, p95: bool) -> None:
    requests = rows(outcome=["right"] * (200 - expired) + ["expired"] * expired + ["refused"] * 100)
    found = figures(requests, 1.0, deadline_ms=1000)
    assert found["p50_ms"] == 10
    assert found["p95_ms"] == (10 if p95 else None)
    assert found["refuse_p95_ms"] == 10


def command(tmp_path: Path, *options: str) -> tuple[int, str]:
    arguments = ["open-loop", "--models", str(EMBEDDED), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*arguments, *options])
    return ended.exit_code, " ".join(ended.output.split())


def test_a_server_is_offered_multiples_of_its_capacity_and_recovers(tmp_path: Path) -> None:
    options = ["--servers", "optimized", "--task", "sentiment", "--multiples", "0.25,0.5", "--recover", "0"]
    options += ["--duration", "1", "--warmup", "0.5", "--capacity-users", "4", "--capacity-duration", "1"]
    code, output = command(tmp_path, *options, "--deadline-ms", "60000")
    assert code == 0, output
    assert "recovered: 0 s after the highest rate it answers as before" in output
    folder = tmp_path / "run" / "open_loop"
    record = read_json(folder / "optimized-sentiment.json")
    capacity = record["capacity_rps"]
    rates = [found["rate"] for found in record["rates"]]
    assert rates == pytest.approx([capacity / 4, capacity / 2])
    assert list(pd.read_csv(folder / "optimized-sentiment.csv")["rate"]) == pytest.approx(rates)
    for found in record["rates"]:
        path = folder / f"optimized-sentiment-{found['rate']:.4g}rps.requests.csv.xz"
        again = figures(pd.read_csv(path, dtype=COLUMNS), 1.0, 60_000)
        assert {name: found[name] for name in again} == again
        assert found["requests"] == found["right"] > 0
    assert all(before <= after for before, after in pairwise(rates))
    assert record["recovery"]["recovered"] and record["model"]["origin"].startswith("embedded")
