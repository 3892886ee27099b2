"""Each ONNX server serves from an environment that holds its dependency group alone, as its image does."""

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest
from checkout import ROOT
from conftest import EMBEDDED, READY_TIMEOUT_S, is_ready
from deploy_files import stages

from benchmark.measure import loopback
from benchmark.measure.processes import free_port


@pytest.mark.parametrize("name", ["optimized", "dynamic_batching"])
def test_a_server_runs_on_what_its_image_installs(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        str(python),
        "install",
        "-q",
    ]
    group = ["--constraint", str(ROOT / "constraints.txt"), "--group", f"{ROOT / 'pyproject.toml'}:{name}"]
    subprocess.run([*pip, *group], check=True)
    listed = subprocess.run([*pip[:-2], "list"], capture_output=True, text=True, check=True).stdout
    assert "onnxruntime" in listed and "torch" not in listed
    # Only what the image holds of the models: without PyTorch's.
    models = tmp_path / "models"
    ignored = shutil.ignore_patterns("pytorch")
    shutil.copytree(EMBEDDED, models, ignore=ignored)
    shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    port = free_port()
    entry = dict(stages()[name])["ENTRYPOINT"]
    command = [str(python), "-m", name, "--host", "127.0.0.1", "--port", str(port)]
    assert all(f'"{word}"' in entry for word in ("-m", name, "--host", "--port"))
    variables = {"GAP_MODELS_DIR": str(models), "GAP_THREADS": "1", "PATH": os.environ["PATH"]}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log)
    try:
        ends_s = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(port):
            assert server.poll() is None and time.monotonic() < ends_s, (tmp_path / "log").read_text()
        answer = loopback.post(
            f"http://127.0.0.1:{port}/translate", json={"text": "I love you."}, timeout=60.0
        )
        assert answer.json() == {"translation": "Ich liebe dich."}
        server.terminate()
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
