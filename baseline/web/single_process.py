"""Refuses to run the app in several processes: /metrics, the queue, limits and threads are of one process."""

import os
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from multiprocessing import current_process

from uvicorn.config import STARTUP_FAILURE, Config

REMEDY = (
    "a server is one process, which uses as many cores as GAP_THREADS says;"
    " for more processes, start each on a port of its own behind a proxy"
)


def require_one_worker(options: Sequence[str], *variables: str) -> None:
    """SystemExit, with a text for the user, where --workers, or else one of `variables`, is not 1."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-w", "--workers", nargs="?")
    asked = {"--workers": parser.parse_known_args(options)[0].workers}
    asked |= {name: os.environ.get(name) for name in variables}
    name, value = next(((name, value) for name, value in asked.items() if value), ("", "1"))
    if value != "1":
        raise SystemExit(f"error: {name} has the value {value!r}: {REMEDY}")


def require_no_siblings() -> None:
    """SystemExit where a supervisor runs the app in several processes, as far as it can be told from inside.

    The code is the one on which uvicorn and gunicorn stop instead of starting the process again.
    """
    # uvicorn's supervisor, and what builds on it, starts each process with its configuration.
    config = getattr(current_process(), "_kwargs", {}).get("config")
    try:
        if isinstance(config, Config) and not config.reload:
            require_one_worker(["--workers", str(config.workers)])
        elif os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/"):
            options = shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
            require_one_worker([*options, *sys.argv[1:]], "WEB_CONCURRENCY")
    except SystemExit as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(STARTUP_FAILURE) from None
