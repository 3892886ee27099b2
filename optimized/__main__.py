"""`python -m optimized` serves on 127.0.0.1:8000; takes uvicorn's options, such as --host, --port."""

import sys

from uvicorn.main import main

# Forwarded headers and WebSockets are off: nothing here needs them, and either takes what a client says.
DEFAULTS = ["--host", "127.0.0.1", "--http", "optimized.protocol:LimitedHttp", "--ws", "none"]
DEFAULTS += ["--no-proxy-headers", "--no-server-header"]

if __name__ == "__main__":
    main(["optimized.server:app", *DEFAULTS, *sys.argv[1:]], prog_name="python -m optimized")
