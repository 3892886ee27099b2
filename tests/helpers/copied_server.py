"""A server's folder that was copied alone: it starts, translates, and stops."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from conftest import READY_TIMEOUT_S, is_ready

from benchmark.measure import loopback
from benchmark.measure.processes import free_port

STOP_S = 20


def check_it_serves(
    name: str, folder: Path, variables: Mapping[str, str], python: str = sys.executable
) -> None:
    """Runs the server `name` in `folder`, which holds a copy of it, with these variables alone."""
    port = free_port()
    command = [python, "-m", name, "--host", "127.0.0.1", "--port", str(port)]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
    try:
        ends_s = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(port):
            assert server.poll() is None and time.monotonic() < ends_s, log_path.read_text()
        body = {"text": "I love you."}
        answer = loopback.post(f"http://127.0.0.1:{port}/translate", json=body, timeout=60.0)
        assert answer.json() == {"translation": "Ich liebe dich."}
        server.terminate()
        assert server.wait(STOP_S) == 0
    finally:
        server.kill()
        server.wait()
