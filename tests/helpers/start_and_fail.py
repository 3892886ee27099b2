"""Starts a server that is expected to refuse its settings."""

import os
import subprocess
import sys

from conftest import EMBEDDED

from benchmark.measure.processes import free_port
from benchmark.runs.environment import ROOT

START_TIMEOUT_S = 60


def start_and_fail(name: str, port: int = 0, *options: str, **settings: str) -> tuple[int, str]:
    command = [sys.executable, "-m", name, "--port", str(port or free_port()), *options]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "GAP_MODELS_DIR": str(EMBEDDED), "GAP_THREADS": "1", **settings},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
    )
    return ended.returncode, ended.stdout + ended.stderr
