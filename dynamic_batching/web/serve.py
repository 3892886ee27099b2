"""How the process ends: with 0 after a stop that was asked for, with 1 where the server gave up.

Uvicorn raises a stop signal again once it has shut down: left alone, that ends the process as killed.
"""

import logging
import os
import signal
import sys
from types import FrameType

gave_up = False


def give_up() -> None:
    """Stops the server, as SIGTERM does; the process ends with 1."""
    global gave_up
    gave_up = True
    signal.raise_signal(signal.SIGTERM)


def end_at_sigterm() -> None:
    """From now on SIGTERM ends the process at once, unless the server has a handler of its own."""
    signal.signal(signal.SIGTERM, end)


def end(number: int, frame: FrameType | None) -> None:
    logging.shutdown()
    sys.stdout.flush()
    # Nothing is left to be done, and a thread that hangs must not keep the process from ending.
    os._exit(1 if gave_up else 0)
