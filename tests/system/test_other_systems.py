"""What Linux or an x86 CPU alone has is not needed: macOS and ARM, tried by taking those names away."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SERVERS, serving

from benchmark.charts import caption
from benchmark.charts.data import RunData
from benchmark.measure import loopback
from benchmark.measure.redis_server import NO_REDIS
from benchmark.runs.environment import ROOT
from benchmark.runs.records import RunFiles

PRELUDE = ROOT / "tests" / "helpers" / "other_system"
TEXTS = 16
SHOW_REDIS_URL = "import os, sys; print(os.environ.get('REDIS_URL')); sys.exit(7)"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Processes that are started find another system: no Redis on PATH either."""
    monkeypatch.setenv("PYTHONPATH", str(PRELUDE))
    monkeypatch.delenv("REDIS_URL", raising=False)
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("git", "sh"):
        if found := shutil.which(name):
            (binaries / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(binaries))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded models, prepared there: their INT8 runs on ONNX Runtime's kernels."""
    folder = tmp_path_factory.mktemp("models") / "embedded"
    # Some texts are enough to see that INT8 answers; quality is held elsewhere.
    code = f"import runpy, model_export.verify; model_export.verify.TEXTS = {TEXTS}; "
    code += "runpy.run_path('optimize_model.py', run_name='__main__')"
    command = [sys.executable, "-c", code, "--source", "embedded", "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{PRELUDE}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "kernels: ONNX Runtime's own, since this CPU has no" in ended.stdout
    return folder


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_answers(name: str, system: None, models: Path, tmp_path: Path) -> None:
    with serving(name, tmp_path, GAP_MODELS_DIR=str(models)) as server:
        texts = ["I love you.", "Two dogs are playing in the snow."]
        answer = loopback.post(f"{server.url}/translate/batch", json={"texts": texts}, timeout=60.0)
        sentiment = loopback.post(f"{server.url}/sentiment", json={"text": "a dull mess"}, timeout=60.0)
        metrics = loopback.get(f"{server.url}/metrics", timeout=60.0)
    assert answer.json()["translations"][0] == "Ich liebe dich." and answer.json()["translations"][1]
    assert sentiment.json()["label"] == "NEGATIVE"
    assert metrics.status_code == 200 and "Traceback" not in server.log_path.read_text()


def test_a_benchmark_measures_and_says_what_it_could_not_have(
    system: None, models: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmark", "run", "--models", str(models), "--results", str(tmp_path)]
    command += ["--name", "run", "--servers", "optimized,dynamic_batching", "--tasks", "sentiment"]
    command += ["--users", "2", "--duration", "1", "--max-duration", "1", "--warmup", "0.2"]
    command += ["--load-generator-limit", "0"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(f"optimized runs without its cache: {NO_REDIS}")
    files = RunFiles(tmp_path / "run")
    environment = files.read_run()["environment"]
    assert environment["cores"]["pinned"] is False and environment["cpu_quota"] is None
    assert caption.machine(environment).endswith(", not pinned")
    assert {record["figures"]["failures"] for record in files.read_cells()} == {0}
    data = RunData(files)
    circumstances = caption.circumstances(data, data)
    assert "not pinned" in circumstances and "optimized without a cache" in circumstances
    assert list((tmp_path / "run").rglob("*.svg"))
    assert "may have shared cores" in (tmp_path / "run" / "report.html").read_text()


def test_serving_without_a_redis_says_so(system: None) -> None:
    command = [sys.executable, "-m", "benchmark.measure.redis_server", sys.executable, "-c", SHOW_REDIS_URL]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.stdout.splitlines() == [f"cache: none, since {NO_REDIS}", "None"]
    assert ended.returncode == 7


def test_what_is_about_the_cache_needs_one(system: None) -> None:
    code = "from benchmark.measure.redis_server import redis_url; redis_url().__enter__()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.stderr.splitlines()[-1] == f"benchmark.measure.processes.ProcessFailed: {NO_REDIS}"
