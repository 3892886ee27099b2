"""The server's settings, read from GAP_* environment variables when the app is built."""

from pydantic import Field, PositiveInt

from .web.cpus import usable_cpus
from .web.settings import HttpSettings


class Settings(HttpSettings):
    """What this engine adds to the limits of the HTTP contract."""

    threads: PositiveInt = Field(
        default_factory=usable_cpus,
        description="threads of PyTorch within an operator",
    )
