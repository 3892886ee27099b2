"""A server as a process: start, readiness, stop, and the lines a user's mistake gets."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import EMBEDDED, SERVERS
from start_and_fail import start_and_fail

from benchmark.measure import loopback
from benchmark.measure.processes import Server, free_port
from benchmark.runs.environment import ROOT
from optimized.web.cpus import allowed_cpus

SMALLEST_LIMITS = {
    "GAP_MAX_INPUT_TOKENS": "8",
    "GAP_MAX_BATCH_TEXTS": "1",
    "GAP_MAX_BATCH_SIZE": "1",
    "GAP_MAX_BATCH_TOKENS": "1",
    "GAP_MAX_PREFILL_TOKENS": "1",
    "GAP_MAX_NUM_BEAMS": "1",
    "GAP_THREADS": "1",
}


@pytest.mark.parametrize("name", SERVERS)
def test_missing_models_are_one_clear_line(name: str, tmp_path: Path) -> None:
    code, output = start_and_fail(name, GAP_MODELS_DIR=str(tmp_path / "nowhere"))
    assert code != 0
    assert "optimize_model.py" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_a_bad_setting_names_the_variable_and_its_value(name: str) -> None:
    code, output = start_and_fail(name, GAP_MAX_BATCH_TEXTS="many")
    assert code != 0
    assert "GAP_MAX_BATCH_TEXTS has the value 'many'" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_a_damaged_model_is_not_served(name: str, tmp_path: Path) -> None:
    manifest = json.loads((EMBEDDED / "manifest.json").read_text())
    for artefact in manifest["artefacts"]:
        (tmp_path / artefact).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / artefact).symlink_to(EMBEDDED / artefact)
        for entry in manifest["artefacts"][artefact]["files"].values():
            entry["sha256"] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    code, output = start_and_fail(name, GAP_MODELS_DIR=str(tmp_path))
    assert code == 1
    assert "damaged" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_models_of_another_version_are_not_served(name: str, tmp_path: Path) -> None:
    manifest = json.loads((EMBEDDED / "manifest.json").read_text())
    manifest["format"] = 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    code, output = start_and_fail(name, GAP_MODELS_DIR=str(tmp_path))
    assert code != 0
    assert "another version" in output and "optimize_model.py" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_a_port_in_use_is_one_clear_line(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        code, output = start_and_fail(name, listening.getsockname()[1])
    assert code != 0
    assert "address already in use" in output and "Traceback" not in output


@pytest.mark.parametrize("name", SERVERS)
def test_at_the_smallest_limits_it_is_alive_then_ready_then_answers_and_stops_on_sigterm(
    name: str, tmp_path: Path
) -> None:
    cores = tuple(allowed_cpus())
    settings = {"GAP_MODELS_DIR": str(EMBEDDED), **SMALLEST_LIMITS}
    server = Server(name, free_port(), cores, tmp_path / "log", settings)
    client = loopback.Client(base_url=server.url, timeout=5.0)
    try:
        states = set()
        while True:
            try:
                alive = client.get("/health").status_code
                ready = client.get("/ready")
            except httpx.TransportError:
                assert server.process.poll() is None, server.last_line()
                continue
            assert alive == 200
            states.add(ready.status_code)
            if ready.status_code == 200:
                break
            assert "loading" in ready.json()["detail"] and ready.headers["retry-after"]
        # The others may load between two looks.
        assert states == {503, 200} or name != "baseline"
        assert "Model loaded! Cold start" in server.log_path.read_text()
        translation = client.post("/translate", json={"text": "I love you."}, timeout=60)
        sentiment = client.post("/sentiment", json={"text": "a dull mess"}, timeout=60)
        assert translation.json() == {"translation": "Ich liebe dich."}
        assert sentiment.json()["label"] == "NEGATIVE"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log_path.read_text()
    finally:
        client.close()
        server.stop()


@pytest.mark.parametrize("name", SERVERS)
def test_importing_a_server_builds_nothing(name: str) -> None:
    code = f"import {name}.server as s; assert 'app' not in vars(s)"
    environment = {**os.environ, "GAP_MODELS_DIR": "/nowhere", "GAP_MAX_BATCH_TEXTS": "many"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
