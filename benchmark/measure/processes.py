"""Child processes that never outlive the run: the servers, and what else runs on cores of its own.

They are pinned to cores and ended with this process where the system can do that, which macOS cannot.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx
import psutil

from benchmark.measure import loopback
from benchmark.runs.environment import ROOT, can_pin
from benchmark.runs.errors import BenchmarkError

READY_TIMEOUT_S = 180.0
READY_POLL_S = 0.02
STOP_TIMEOUT_S = 15.0
PR_SET_PDEATHSIG = 1
# What a platform or a shell sets for servers of several processes is not meant for those measured here.
ONE_WORKER: Mapping[str, str | None] = {"WEB_CONCURRENCY": None, "UVICORN_WORKERS": None}


class ProcessFailed(BenchmarkError):
    """A server or the load generator ended, or did not become ready; the text is one line for the user."""


class Child:
    """A process pinned to cores, its output in a file, stopped by pid."""

    def __init__(
        self,
        command: list[str],
        cores: tuple[int, ...],
        log_path: Path,
        env: Mapping[str, str | None],
        *,
        piped: bool = False,
        cwd: Path = ROOT,
    ) -> None:
        """With `piped`, the caller has standard input and output; else output goes to the log as well.

        `env` comes on top of this process's own environment; None takes a variable out of it.
        """
        self.log_path = log_path
        prctl = getattr(ctypes.CDLL(None), "prctl", None)

        def in_child() -> None:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(0, cores)
            # The kernel ends the child even where this process is killed and cannot.
            if prctl is not None:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        variables = {**os.environ, **ONE_WORKER, **env}
        with log_path.open("wb") as log:
            # A session of its own: Ctrl-C reaches only this process, which then stops the children in order.
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={key: value for key, value in variables.items() if value is not None},
                stdin=subprocess.PIPE if piped else None,
                stdout=subprocess.PIPE if piped else log,
                stderr=log,
                start_new_session=True,
                preexec_fn=in_child,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def pin(self, cores: tuple[int, ...]) -> None:
        """Pins the running process to `cores`, where the system can; harmless where it has ended."""
        if can_pin():
            with contextlib.suppress(psutil.NoSuchProcess):
                pin_threads(psutil.Process(self.pid), cores)

    def last_line(self) -> str:
        """The last line of the child's output that is not blank."""
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

    def stop(self) -> None:
        """SIGTERM, a bounded wait, SIGKILL; harmless where the child has ended."""
        # Popen's own exit closes the pipes and waits.
        with contextlib.suppress(BrokenPipeError), self.process:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()


class Server(Child):
    """One of the servers, on a loopback port; `code` is the checkout that its folder is taken from.

    `command` starts it where it is none of the three server folders.
    """

    def __init__(
        self,
        name: str,
        port: int,
        cores: tuple[int, ...],
        log_path: Path,
        settings: Mapping[str, str | None],
        code: Path = ROOT,
        command: list[str] | None = None,
    ) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.started_s = time.perf_counter()
        if command is None:
            command = [sys.executable, "-m", name, "--port", str(port), "--workers", "1"]
            command += ["--no-access-log", "--log-level", "warning"]
        if not can_pin():
            settings = {"GAP_THREADS": os.environ.get("GAP_THREADS", str(len(cores))), **settings}
        super().__init__(command, cores, log_path, settings, cwd=code)

    def is_ready(self) -> bool:
        """Whether it is warm; httpx.TransportError where nothing listens yet."""
        return loopback.get(f"{self.url}/ready", timeout=5.0).status_code == 200

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Waits until it is ready; `cold_start_s` is the time from the process's start until then.

        Raises:
            ProcessFailed: the server ended, or was not ready within `timeout_s`.
        """
        while time.perf_counter() - self.started_s < timeout_s:
            if self.process.poll() is not None:
                raise ProcessFailed(f"{self.name} did not start: {self.last_line()}")
            with contextlib.suppress(httpx.TransportError):
                if self.is_ready():
                    self.cold_start_s = time.perf_counter() - self.started_s
                    return
            time.sleep(READY_POLL_S)
        raise ProcessFailed(f"{self.name} was not ready within {timeout_s:g} s: {self.last_line()}")

    def check_running(self) -> None:
        """Raises ProcessFailed where the server has ended by itself."""
        code = self.process.poll()
        if code is not None:
            reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise ProcessFailed(f"{self.name} ended in mid-run ({reason}): {self.last_line()}")


def pin_threads(process: psutil.Process, cores: tuple[int, ...]) -> None:
    """Pins every thread of `process` to `cores`; threads that these start later inherit that."""
    for thread in process.threads():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread.id, cores)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
