"""Other serving systems are installed, tuned, checked and measured beside ours; one that fails is a row."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from made_runs import make_run

from benchmark.charts import peers as charts
from benchmark.measure.process_sampler import ProcessTree
from benchmark.measure.processes import Child, ProcessFailed, free_port
from benchmark.report.peers import server_rows, setting_rows
from benchmark.runs.environment import ROOT
from benchmark.runs.plan import Cores
from benchmark.runs.records import TASKS, read_json, write_json
from dynamic_batching.web.cpus import allowed_cpus
from peers import environments
from peers.servers import preparation, same_answers, search
from peers.servers.configuration import PeerConfiguration, PeerServer
from peers.servers.plan import PeersPlan
from peers.servers.preparation import Preparation
from peers.servers.summary import write_summary
from peers.servers.systems import ENGINE_TITLES, OURS, SYSTEMS, Peer, peers_of

CORE = (allowed_cpus()[0],)
NAMES = tuple(dict.fromkeys(peer.name for task in TASKS for peer in peers_of(task)))
MOSEC = Peer("mosec", "onnxruntime")
# A process that starts another one and waits; both end by a signal alone.
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_server_pinned_requirements_and_its_sources(name: str) -> None:
    system = SYSTEMS[name]
    assert 20 <= system.lines_of_code() <= 90
    lines = [line for line in system.requirements.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert "ctranslate2" not in system.versions("ours") and len(system.versions("ctranslate2")) == len(lines)
    fairness = (ROOT / "peers" / "FAIRNESS.md").read_text()
    assert f"**{system.title.split(',')[0].split()[0]}" in fairness
    for task, engines in system.engines.items():
        assert system.candidates[task] and {*engines} <= {*ENGINE_TITLES}


@given(
    st.lists(st.sampled_from(NAMES), unique=True),
    st.integers(1, 4),
    st.lists(st.sampled_from((10, 50, 100)), unique=True, min_size=1),
)
def test_every_peer_takes_turns_with_ours_in_the_tasks_that_it_does(
    names: list[str], repeats: int, users: list[int]
) -> None:
    plan = PeersPlan((OURS, *names), TASKS, (("unique", 1),), tuple(users), repeats, 1.0, 1.0, 1.0)
    cells = [*plan.cells()]
    assert len({*cells}) == len(cells)
    for task in TASKS:
        does = {OURS, *(peer.name for peer in peers_of(task))} & {OURS, *names}
        for level in users:
            for repeat in range(1, repeats + 1):
                at = [
                    one.server for one in cells if (one.task, one.users, one.repeat) == (task, level, repeat)
                ]
                assert {*at} == does and len(at) == len(does)
    assert PeersPlan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def configuration(peer: Peer = MOSEC, task: str = "sentiment") -> PeerConfiguration:
    return PeerConfiguration(peer.name, EMBEDDED, {}, False, task=task, peer=peer, weights=Path("weights"))


def test_a_server_is_told_its_task_engine_and_settings_and_runs_on_one_thread() -> None:
    settings = {"max_batch_size": 16, "max_wait_ms": 1}
    variables = replace(configuration(), peer_settings=settings).variables("")
    assert variables["PEER_TASK"] == "sentiment" and variables["PEER_ENGINE"] == "onnxruntime"
    assert variables["PEER_MAX_BATCH_SIZE"] == "16" and variables["OMP_NUM_THREADS"] == "1"
    assert variables["PATH"].startswith(str(environments.ENVIRONMENTS / "servers-mosec"))
    assert configuration().path("sentiment", False) == "/sentiment"
    triton = configuration(Peer("triton", "ours"))
    assert triton.path("sentiment", False) == "/v2/models/sentiment/generate"


def test_the_fastest_settings_are_chosen_by_latency(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    latency_ms = {16: 40.0, 64: 20.0}

    class FakeTarget(SimpleNamespace):
        def serving(self, stem: str) -> Any:
            return os.scandir(tmp_path)  # any context

    def measure(target: Any, *_: object) -> Any:
        size = target.configuration.peer_settings["max_batch_size"]
        wait = target.configuration.peer_settings["max_wait_ms"]
        return SimpleNamespace(figures={"mean_ms": latency_ms[size] + wait}, errors={})

    monkeypatch.setattr(search, "measure_closed_loop", measure)
    monkeypatch.setattr(search, "replace", lambda one, **changes: changed(one, **changes))
    target: Any = FakeTarget()
    tuned, searched = search.search_settings(target, configuration(), 50, 1.0, lambda line: None)
    assert tuned.peer_settings == {"max_batch_size": 64, "max_wait_ms": 1}
    assert len(searched) == len(SYSTEMS["mosec"].candidates["sentiment"])
    assert searched[0]["rounds"][0]["throughput_rps"] == pytest.approx(50e3 / 41)


def changed(one: Any, **changes: Any) -> Any:
    return type(one)(**{**vars(one), **changes})


class FakeServer(SimpleNamespace):
    """Answers from a list."""

    name, url, route = "fake", "http://127.0.0.1", "/sentiment"


@pytest.mark.parametrize(("wrong", "share"), [(0, 1.0), (3, 1 - 3 / 32)])
def test_answers_are_compared_with_those_of_the_engine_alone(
    monkeypatch: pytest.MonkeyPatch, wrong: int, share: float
) -> None:
    monkeypatch.setattr(same_answers, "post", lambda server, text: {"label": "POSITIVE"})
    labels = ["NEGATIVE"] * wrong + ["POSITIVE"] * (same_answers.TEXTS - wrong)
    alone = [{"label": label} for label in labels]
    monkeypatch.setattr(same_answers, "answers_alone", lambda configuration, texts: alone)
    server: Any = FakeServer()
    assert same_answers.share_of_same_answers(configuration(), server) == pytest.approx(share)


def test_only_case_and_final_punctuation_may_differ() -> None:
    assert same_answers.same("Zwei Hunde.", "zwei Hunde") and same_answers.same("Ja", "Ja")
    assert not same_answers.same("Zwei Hunde.", "Zwei Katzen.")


def test_a_server_with_other_answers_than_its_engine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same_answers, "post", lambda server, text: {"label": "POSITIVE"})
    monkeypatch.setattr(
        same_answers, "answers_alone", lambda configuration, texts: [{"label": "NEGATIVE"}] * len(texts)
    )
    server: Any = FakeServer()
    with pytest.raises(ProcessFailed, match="fake: 0% of its answers"):
        same_answers.share_of_same_answers(configuration(), server)


def test_a_peer_that_cannot_be_prepared_is_kept_with_its_error_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried: list[str] = []

    def fail(self: Preparation, tuned: PeerConfiguration, record: dict[str, Any]) -> PeerConfiguration:
        tried.append(tuned.server)
        raise ProcessFailed("no such package")

    lines: list[str] = []
    common = EMBEDDED, read_json(EMBEDDED / "manifest.json"), tmp_path, Cores(CORE, CORE), 50, 1.0
    prepare = Preparation(*common, lines.append).prepare
    monkeypatch.setattr(Preparation, "measure_preparation", fail)
    record, _ = prepare(MOSEC, "sentiment")
    assert record["error"] == "no such package" and lines == ["mosec-onnxruntime, sentiment: no such package"]
    assert read_json(tmp_path / "systems" / "mosec-onnxruntime.json") == record
    prepare(MOSEC, "sentiment")
    assert len(tried) == 2, "a failure is no result to resume from"
    write_json(tmp_path / "run.json", {})
    assert prepare(MOSEC, "sentiment")[0]["error"] and len(tried) == 2, (
        "the plan of a run has no place for it"
    )
    settings = {"max_batch_size": 8}
    write_json(
        tmp_path / "systems" / "mosec-onnxruntime.json", record | {"error": None, "settings": settings}
    )
    kept, found = prepare(MOSEC, "sentiment")
    assert len(tried) == 2 and found.peer_settings == settings == kept["settings"]
    assert preparation.FOLDER == charts.SYSTEMS


def made_comparison(folder: Path) -> tuple[Any, dict[str, Any]]:
    """A run of ours and Mosec, and the records of Mosec and of a system that could not be installed."""
    rates = {OURS: 250.0, "mosec-ctranslate2": 90.0}
    run = make_run(folder, (*rates,), users=(50,), repeats=3, rates=rates)
    record = run.read_run()
    record["models"]["artefacts"]["translation/onnx"] = record["models"]["artefacts"]["translation/pytorch"]
    run.write_run(record | {"kind": charts.KIND})
    mosec = {"title": "Mosec, CTranslate2 INT8", "task": "translation", "error": None, "lines_of_code": 28}
    mosec |= {"versions": {"mosec": "0.9.8"}, "settings": {"max_batch_size": 64}, "searched": [{}, {}]}
    write_json(run.folder / "systems" / "mosec-ctranslate2.json", mosec)
    broken = {"title": "Broken", "task": "translation", "error": "cannot install", "lines_of_code": 30}
    return run, {"mosec-ctranslate2": mosec | {"same_answers": 1.0}, "broken": broken}


def test_the_summary_has_ratios_of_rounds_and_a_row_for_what_failed(tmp_path: Path) -> None:
    run, records = made_comparison(tmp_path / "run")
    path, summary = write_summary(run, records)
    assert path == tmp_path / "run" / "servers.json" and read_json(path) == json.loads(json.dumps(summary))
    ours, mosec, broken = summary["tasks"]["translation"]["servers"]
    level = mosec["levels"]["50"]
    expected = ours["levels"]["50"]["throughput_rps"] / level["throughput_rps"]
    assert level["ratio"] == pytest.approx(expected) and level["repeats"] == 3
    assert (
        level["ratio_low"] <= level["ratio"] <= level["ratio_high"] and ours["levels"]["50"]["ratio"] is None
    )
    assert broken["error"] == "cannot install" and broken["levels"] == {} and broken["memory_bytes"] is None
    rows = [*server_rows(summary["tasks"]["translation"], 50)]
    assert [row["server"] for row in rows] == ["ours, dynamic_batching", "Mosec, CTranslate2 INT8", "Broken"]
    assert rows[1]["ours is"].endswith(")") and rows[0]["ours is"] == rows[2]["requests/s"] == "–"
    settings = [*setting_rows(summary["tasks"]["translation"])]
    assert settings[0]["fastest settings"] == "max_batch_size 64 (best of 2)"
    assert settings[1]["error"] == "cannot install"


def test_the_chart_says_how_ours_compares_with_the_best_of_the_others() -> None:
    rates = {OURS: 120.0, "mosec-onnxruntime": 60.0, "ray_serve-onnxruntime": 20.0, "mosec-ours": 100.0}
    assert charts.title(rates, "sentiment", 50) == (
        "At 50 users ours answers 2.00x the sentiment requests of the best other server, "
        "1.20x with our engine in it"
    )
    del rates["mosec-ours"]
    assert charts.title(rates, "sentiment", 50).endswith("of the best other server")
    assert "No other server" in charts.title({OURS: 1.0}, "sentiment", 50)


def test_a_requirement_that_cannot_be_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    requirements = tmp_path / "peers" / "servers" / "none" / "requirements.txt"
    requirements.parent.mkdir(parents=True)
    requirements.write_text("./no-such-folder\n")
    with pytest.raises(ProcessFailed, match=r"cannot install peers/servers/none/requirements.txt: ERROR"):
        environments.install(requirements)
    assert not environments.is_installed(requirements)
    requirements.write_text("# nothing\n")
    python = environments.install(requirements)
    assert python.is_file() and environments.is_installed(requirements)
    requirements.write_text("# nothing, but changed\n")
    assert not environments.is_installed(requirements)


def test_all_processes_of_a_server_are_counted_and_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT]
    server = PeerServer("fake", free_port(), CORE, tmp_path / "log", {}, ROOT, command)
    tree = ProcessTree(server.pid)
    while len(tree.processes()) < 2:
        assert server.process.poll() is None, server.last_line()
    parent, child = tree.processes()
    usage = tree.usage()
    assert usage.threads >= 2 and usage.rss_bytes < parent.memory_info().rss + child.memory_info().rss
    server.stop()
    assert not psutil.pid_exists(child.pid) or child.status() == psutil.STATUS_ZOMBIE


def test_a_process_that_ends_while_it_is_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ProcessTree(os.getpid())
    looks = [[psutil.Process(), FakeProcess()], [psutil.Process()]]
    monkeypatch.setattr(tree, "processes", lambda: looks.pop(0))
    assert tree.usage().rss_bytes > 0 and not looks


class FakeProcess:
    """Has ended."""

    pid = 2**22 + 1

    def memory_full_info(self) -> Any:
        raise psutil.NoSuchProcess(self.pid)


def test_one_process_is_counted_by_what_it_holds(tmp_path: Path) -> None:
    with Child([sys.executable, "-c", "import time; time.sleep(60)"], CORE, tmp_path / "log", {}) as child:
        tree = ProcessTree(child.pid)
        assert tree.is_running() and tree.usage().rss_bytes > 0 and tree.cpu_percent() >= 0
    assert not tree.is_running()
