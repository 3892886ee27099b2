"""`python -m` this folder serves on 127.0.0.1:8000; takes uvicorn's options, such as --host, --port."""

import logging
import os
import signal
import sys
from types import FrameType

from uvicorn.main import main

from .config import Settings
from .web.settings import read_settings
from .web.single_process import require_one_worker


def serve(options: list[str]) -> None:
    require_one_worker(options, "UVICORN_WORKERS", "WEB_CONCURRENCY")
    # Uvicorn raises a stop signal again once it has shut down: left alone, that ends the process as killed.
    signal.signal(signal.SIGTERM, exit_now)
    drain_timeout_s = -(-read_settings(Settings).drain_timeout_ms // 1_000)
    defaults = ["--host", "127.0.0.1", "--http", f"{__package__}.web.load_shedding:LoadSheddingHttp"]
    # Forwarded headers and WebSockets are off: nothing here needs them, and either takes what a client says.
    defaults += ["--ws", "none", "--no-proxy-headers", "--no-server-header"]
    # Longer than clients and proxies keep an idle connection: none is closed under their next request.
    defaults += ["--timeout-keep-alive", "75", "--timeout-graceful-shutdown", str(drain_timeout_s)]
    # Said, so that uvicorn reads no variable for it, of an --env-file either.
    defaults += ["--workers", "1"]
    main([f"{__package__}.server:app", *defaults, *options], prog_name=f"python -m {__package__}")


def exit_now(number: int, frame: FrameType | None) -> None:
    """Ends the process: nothing is left to be done, and a thread that hangs must not keep it from ending."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1:])
