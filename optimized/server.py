"""The optimized server: a faster model, a packed tensor a batch, a cache. `python -m optimized` serves it."""

from fastapi import FastAPI

from .config import Settings
from .engine import CachedEngine
from .web.app import create_app
from .web.settings import read_settings
from .web.single_process import require_no_siblings


def __getattr__(name: str) -> FastAPI:
    # `uvicorn optimized.server:app` asks for `app`; importing the module builds nothing.
    if name == "app":
        require_no_siblings()
        return create_app(CachedEngine, read_settings(Settings))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
