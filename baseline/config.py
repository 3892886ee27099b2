"""The server's settings, read from GAP_* environment variables when the app is built."""

import os

from pydantic import Field, PositiveInt

from .web.settings import HttpSettings


class Settings(HttpSettings):
    """What this engine adds to the limits of the HTTP contract."""

    threads: PositiveInt = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        description="threads inside one operator; the cores this process may use unless given",
    )
