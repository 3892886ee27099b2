"""Locust as a process that loads a server, and the watch over both until the load ends."""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmark.measure.process_sampler import Sampler
from benchmark.measure.processes import Child, ProcessFailed, Server
from benchmark.runs.environment import ROOT

LOAD_GRACE_S = 60.0
CLOSED_LOOP, OPEN_LOOP = "closed_loop.py", "open_loop.py"

Event = dict[str, Any]


class Load(Child):
    """Locust, headless, on one of the locustfiles; its standard output is one JSON object a line."""

    def __init__(
        self,
        url: str,
        options: Mapping[str, object],
        cores: tuple[int, ...],
        log_path: Path,
        locustfile: str = CLOSED_LOOP,
    ) -> None:
        """`options` are the locustfile's own, `measure_s=2` for `--measure-s 2`; one that is True is a flag,
        one that is False is left out."""
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / locustfile), "--headless"]
        command += ["--only-summary", "--loglevel", "WARNING", "--stop-timeout", "0", "--host", url]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            if isinstance(value, bool):
                command += [option] if value else []
            else:
                command += [option, str(value.resolve() if isinstance(value, Path) else value)]
        super().__init__(command, cores, log_path, {"PYTHONUNBUFFERED": "1"}, piped=True)

    def events(self) -> Iterator[Event]:
        """The reports of the load generator, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "phase" in event:
                    yield event


def run_load(
    server: Server,
    options: Mapping[str, object],
    cores: tuple[int, ...],
    log_path: Path,
    limit_s: float | None = None,
    *,
    on_event: Callable[[Event], object] = lambda event: None,
    locustfile: str = CLOSED_LOOP,
) -> Sampler:
    """Loads `server` until the load generator ends by itself; returns the samples of both processes.

    Raises:
        ProcessFailed: the server or the load generator ended before the load did, or the load took longer
            than `limit_s`.
        OSError: the requests could not be written.
    """
    load = Load(server.url, options, cores, log_path, locustfile)
    watchdog = threading.Timer(limit_s or threading.TIMEOUT_MAX, load.process.kill)
    watchdog.daemon = True
    started_s = time.perf_counter()
    watchdog.start()
    ended = False
    try:
        with Sampler(server.pid, load.pid) as sampler:
            for event in load.events():
                server.check_running()
                if event["phase"] == "unwritten":
                    raise OSError(event["errno"], os.strerror(event["errno"]))
                ended = ended or event["phase"] == "end"
                on_event(event)
            load.process.wait()
        if not ended:
            if limit_s and time.perf_counter() - started_s >= limit_s:
                raise ProcessFailed(f"the load generator did not end within {limit_s:g} s")
            raise ProcessFailed(f"the load generator ended early: {load.last_line()}")
    finally:
        watchdog.cancel()
        load.stop()
    return sampler
