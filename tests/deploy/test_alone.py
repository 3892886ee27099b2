"""Each ONNX server serves from an environment that holds its dependency group alone, as its image does."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from checkout import ROOT
from conftest import EMBEDDED
from copied_server import check_it_serves
from deploy_files import stages


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
    entry = dict(stages()[name])["ENTRYPOINT"]
    assert all(f'"{word}"' in entry for word in ("-m", name, "--host", "--port"))
    variables = {"GAP_MODELS_DIR": str(models), "GAP_THREADS": "1", "PATH": os.environ["PATH"]}
    check_it_serves(name, tmp_path, variables, str(python))
