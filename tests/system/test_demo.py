"""`make demo` as a user has it: the page in a real browser, the servers behind it, and the end of both."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from browser import opened, running_browser
from conftest import EMBEDDED, SERVERS
from playwright.sync_api import Browser, Page, Response, expect

from benchmark.measure import loopback
from benchmark.runs.environment import ROOT, can_pin
from benchmark.runs.plan import Cores
from benchmark.stats.figures import RATE_FLOOR
from benchmark.stats.formatting import format_figure
from demo.comparison import Plan, sentence

TIMEOUT_S = 120
COMMAND = [sys.executable, "-m", "demo", "--models", str(EMBEDDED)]
# The demo without servers, and an interrupt in a callback, where Python drops what a handler raises.
INTERRUPTED = """
import contextlib, signal, weakref
import demo.__main__ as demo
from demo.servers import Servers
from stub_server import StubServer

@contextlib.contextmanager
def running_servers(models, manifest, cores, print_line):
    yield Servers([StubServer()], cores, "none", {"translation": True, "sentiment": True})

def run(self, sockets=None):
    callback = weakref.ref(Referent(), lambda _: signal.raise_signal(signal.SIGINT))
    super(demo.PageServer, self).run(sockets)

class Referent:
    pass

demo.running_servers = running_servers
demo.PageServer.run = run
demo.app()
"""


@dataclass
class RunningDemo:
    process: subprocess.Popen[str]
    url: str
    printed: list[str]

    def state(self) -> dict[str, dict[str, str]]:
        return {one["name"]: one for one in loopback.get(f"{self.url}/state").json()["servers"]}

    def read_until(self, seen: str) -> str:
        """The next line that holds `seen`; the test fails where the output ends before it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.printed.append(line)
            if seen in line:
                return line
        pytest.fail(f"no {seen!r} in:\n{''.join(self.printed)}")


@contextmanager
def started(command: list[str] = COMMAND) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*command, "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A background job's interrupts are ignored, by what it starts too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


@contextmanager
def running_demo() -> Iterator[RunningDemo]:
    with started() as process:
        demo = RunningDemo(process, "", [])
        demo.url = demo.read_until("open http").split()[1]
        yield demo


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningDemo]:
    with running_demo() as running:
        yield running


def opened_page(
    browser: Browser, demo: RunningDemo, width: int = 1100, scheme: str = "light"
) -> tuple[Page, list[str]]:
    page, complaints = opened(browser, demo.url, width, scheme)
    page.set_default_timeout(TIMEOUT_S * 1e3)
    expect.set_options(timeout=TIMEOUT_S * 1e3)
    page.locator("html[data-ready]").wait_for()
    return page, complaints


def ask(page: Page, task: str, text: str) -> dict[str, Response]:
    """Asks on the page; the answers that it got, by server."""
    page.locator("#ask [name=task]").select_option(task)
    page.get_by_label("English text").fill(text)
    seen: dict[str, Response] = {}
    page.on("response", lambda one: "/ask/" in one.url and seen.update({one.url.rpartition("/")[2]: one}))
    # Answers of an earlier text are replaced at the first one of this text.
    with page.expect_response(f"**/ask/{SERVERS[-1]}"):
        page.get_by_role("button", name="Ask").press("Enter")
    expect(page.locator("#answers .answer")).to_have_count(len(SERVERS))
    return seen


def start(page: Page, task: str, users: int, seconds: int) -> None:
    page.locator("#compare [name=task]").select_option(task)
    page.get_by_role("spinbutton", name="Users").fill(str(users))
    page.get_by_role("spinbutton", name="Seconds").fill(str(seconds))
    page.get_by_role("button", name="Compare").press("Enter")


@pytest.mark.parametrize(
    ("task", "path", "text"),
    [
        ("translation", "/translate", "The children are playing in the garden."),
        ("sentiment", "/sentiment", "A dull mess <b>without</b> any wit."),
    ],
)
def test_a_text_shows_each_servers_answer_and_its_server_timing(
    browser: Browser, demo: RunningDemo, task: str, path: str, text: str
) -> None:
    page, complaints = opened_page(browser, demo)
    answers = ask(page, task, text)
    for name, server in demo.state().items():
        direct = loopback.post(server["url"] + path, json={"text": text}, timeout=TIMEOUT_S).json()
        expected = direct.get("translation") or f"{direct['label']}, score {direct['score']:.4f}"
        row = page.locator(f"[data-server={name}].answer")
        expect(row.locator(".text")).to_have_text(expected)
        timing = answers[name].headers["server-timing"]
        phases = dict(re.findall(r"(\w+);dur=([\d.]+)", timing))
        assert {*phases} == {"tokenize", "queue", "inference"}
        for phase, ms in phases.items():
            expect(row.locator(f"[data-phase={phase}]")).to_have_text(f"{phase} {ms} ms")
        total_ms = answers[name].json()["total_ms"]
        expect(row.locator(".phases")).to_contain_text(f"total {total_ms:.2f} ms")
        assert row.locator(".bar span").count() == 4
    assert complaints == []


@pytest.mark.parametrize("text", ["", "Snow. " * 2000, "東京"])
def test_a_text_that_servers_refuse_shows_their_message_and_loses_nothing(
    browser: Browser, demo: RunningDemo, text: str
) -> None:
    page, complaints = opened_page(browser, demo)
    ask(page, "translation", "I love you.")
    before = page.locator("#answers").inner_text()
    field = page.get_by_label("English text")
    field.fill(text)
    page.get_by_role("button", name="Ask").click()
    server = demo.state()["baseline"]
    refused = loopback.post(f"{server['url']}/translate", json={"text": text}, timeout=TIMEOUT_S)
    assert refused.status_code == 422
    expect(page.locator("#ask-message")).to_have_text(f"text: {refused.json()['detail'][0]['msg']}")
    expect(field).to_be_focused()
    assert field.input_value() == text and page.locator("#answers").inner_text() == before
    # The browser writes every answer of 4xx to its console.
    assert all("status of 422" in one for one in complaints), complaints


def test_a_comparison_draws_three_lines_a_table_and_the_gap_as_a_sentence(
    browser: Browser, demo: RunningDemo
) -> None:
    page, complaints = opened_page(browser, demo)
    with page.expect_response("**/compare") as response:
        start(page, "translation", users=2, seconds=2)
    expect(page.locator("#phase")).to_have_text("Done.")
    events = [json.loads(line) for line in response.value.text().splitlines()]
    figures = {one["server"]: one["figures"] for one in events if one.get("phase") == "done"}
    assert [*figures] == [*SERVERS]
    enough = {name: one["rps"] for name, one in figures.items() if one["answers"] >= RATE_FLOOR}
    expected = sentence(Plan(task="translation", users=2, seconds=2), enough)
    expect(page.locator("#sentence")).to_have_text(expected)
    for name, own in figures.items():
        assert own["answers"] > 0 and own["failures"] == own["cache_hits"] == 0
        assert page.locator(f"#rate polyline.{name}").count() == 1
        percentiles = [
            f"n < {floor}" if own[key] is None else format_figure(own[key])
            for key, floor in (("p50_ms", 8), ("p95_ms", 93))
        ]
        cells = page.locator(f"tr[data-server={name}] td").all_inner_texts()
        assert cells[:-1] == [format_figure(own["rps"]), *percentiles, f"{own['answers']:,}", "0", "0"]
        assert re.fullmatch(r"\d+ %", cells[-1])
    check_batch(page, next(one for one in events if one["event"] == "batch"))
    assert complaints == []
    for width, scheme in ((360, "dark"), (360, "light"), (1100, "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert (background(page) < 80) == (scheme == "dark")


def check_batch(page: Page, batch: dict[str, Any]) -> None:
    # Two bars a text: encoded, decoded.
    assert page.locator("#batch rect").count() == 2 * len(batch["texts"]) > 0
    expect(page.locator("#batch-text")).to_contain_text(f"{batch['joined']} texts joined")
    assert 1 <= batch["most"] <= 2, "no more than the users"


def background(page: Page) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_a_comparison_can_be_stopped_and_only_one_runs(browser: Browser, demo: RunningDemo) -> None:
    page, _ = opened_page(browser, demo)
    start(page, "sentiment", users=101, seconds=20)
    expect(page.locator("#compare-message")).to_have_text("users: Input should be less than or equal to 100")
    start(page, "sentiment", users=3, seconds=20)
    page.locator("#rate polyline.baseline").wait_for(state="attached")
    question = {"task": "sentiment", "text": "A great film."}
    assert loopback.post(f"{demo.url}/ask/baseline", json=question).status_code == 409
    assert loopback.post(f"{demo.url}/compare", json={"task": "sentiment", "users": 1}).status_code == 409
    expect(page.get_by_role("button", name="Stop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#phase")).to_have_text("Stopped.")
    expect(page.locator("#sentence")).to_be_empty()
    answers = ask(page, "sentiment", "A great film.")
    assert {answer.status for answer in answers.values()} == {200}


@pytest.mark.skipif(not can_pin(), reason="this system cannot pin processes to cores")
def test_all_servers_are_on_one_core_once_ready(demo: RunningDemo) -> None:
    children = psutil.Process(demo.process.pid).children()
    for name in SERVERS:
        server = next(one for one in children if name in one.cmdline())
        cores = {frozenset(os.sched_getaffinity(thread.id)) for thread in server.threads()}
        assert cores == {frozenset(Cores.split().server[:1])}


def test_a_server_that_dies_is_named_and_an_interrupt_ends_everything(browser: Browser) -> None:
    with running_demo() as demo:
        page, _ = opened_page(browser, demo)
        children = psutil.Process(demo.process.pid).children(recursive=True)
        victim = next(one for one in children if "optimized" in one.cmdline())
        victim.kill()
        line = demo.read_until("error: optimized")
        assert "killed by signal 9" in line
        expect(page.locator("#errors li")).to_have_text(demo.state()["optimized"]["error"])
        start(page, "sentiment", users=4, seconds=20)
        page.locator("#rate polyline.baseline").wait_for(state="attached")
        demo.process.send_signal(signal.SIGINT)
        output, _ = demo.process.communicate(timeout=TIMEOUT_S)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert demo.process.returncode == 0 and not alive and len(children) >= 3
        assert output.strip().splitlines() == ["the demo has ended"]
        assert "Traceback" not in "".join(demo.printed)
        expect(page.locator("#errors li")).to_have_text("The demo has ended; `make demo` starts it again.")


def test_an_interrupt_as_the_page_server_starts_ends_the_demo() -> None:
    with started([sys.executable, "-c", INTERRUPTED, "--models", str(EMBEDDED)]) as process:
        output = process.communicate(timeout=TIMEOUT_S)[0]
        assert process.returncode == 0 and output.strip().splitlines()[-1] == "the demo has ended"


def test_an_interrupt_while_servers_start_ends_everything() -> None:
    with started() as process:
        demo = RunningDemo(process, "", [])
        demo.read_until("starting")
        children: set[psutil.Process] = set()
        # As the first child appears, others are being forked.
        while not children:
            children |= {*psutil.Process(process.pid).children(recursive=True)}
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(psutil.NoSuchProcess):
            while process.poll() is None:
                children |= {*psutil.Process(process.pid).children(recursive=True)}
        output = process.communicate(timeout=TIMEOUT_S)[0]
        _, alive = psutil.wait_procs(children, timeout=10)
        assert process.returncode == 0 and not alive
        assert output.strip().splitlines()[-1] == "the demo has ended" and "Traceback" not in output


def fail_to_start(*options: str, **settings: str) -> str:
    ended = subprocess.run(
        [*COMMAND, *options],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_what_keeps_the_demo_from_starting_is_one_line(tmp_path: Path) -> None:
    assert "holds no models; prepare it with" in fail_to_start("--models", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        output = fail_to_start("--port", str(port))
    assert output.startswith(f"error: port {port} cannot be used") and output.count("\n") == 1


def test_servers_that_do_not_start_are_lines(tmp_path: Path) -> None:
    output = fail_to_start("--port", "0", GAP_MAX_BATCH_TEXTS="many")
    for server in SERVERS:
        assert f"error: {server} did not start: " in output
    assert output.count("GAP_MAX_BATCH_TEXTS has the value 'many'") == 3
    assert output.strip().endswith("error: no server runs")
