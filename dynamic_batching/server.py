"""The dynamic batching server: requests that arrive one by one leave as batches.

`python -m dynamic_batching` serves it.
"""

from fastapi import FastAPI

from .config import Settings
from .engine import BatchingEngine
from .web.app import create_app
from .web.settings import read_settings
from .web.single_process import require_no_siblings


def __getattr__(name: str) -> FastAPI:
    # `uvicorn dynamic_batching.server:app` asks for `app`; importing the module builds nothing.
    if name == "app":
        require_no_siblings()
        return create_app(BatchingEngine, read_settings(Settings))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
