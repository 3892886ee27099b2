"""`python -m baseline` serves on 127.0.0.1:8000; takes uvicorn's options, such as --host, --port."""

import sys

from uvicorn.main import main

from .stopping import end_at_sigterm

# Forwarded headers and WebSockets are off: nothing here needs them, and either takes what a client says.
DEFAULTS = ["--host", "127.0.0.1", "--http", "baseline.protocol:LimitedHttp", "--ws", "none"]
DEFAULTS += ["--no-proxy-headers", "--no-server-header"]
# Longer than clients and proxies keep an idle connection, so that none is closed under their next request.
DEFAULTS += ["--timeout-keep-alive", "75"]


def serve(options: list[str]) -> None:
    end_at_sigterm()
    main(["baseline.server:app", *DEFAULTS, *options], prog_name="python -m baseline")


if __name__ == "__main__":
    serve(sys.argv[1:])
