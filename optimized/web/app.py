"""The FastAPI app around an engine: the operations of the HTTP contract, /health, /ready, /metrics, /docs."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from .docs_page import docs_page
from .engine import Engine
from .errors import error_response
from .model_files import ModelFilesError
from .operation import describe
from .protocols.routes import VERSIONED, add_pages, error_form
from .request_context import CONTEXT
from .schemas import Problem
from .service import Service
from .settings import AnySettings


def create_app(engine_kind: Callable[[AnySettings], Engine], settings: AnySettings) -> FastAPI:
    """The app of an engine; SystemExit where its model files are missing, with a text for the user."""
    try:
        engine = engine_kind(settings)
    except ModelFilesError as error:
        raise SystemExit(f"error: {error}") from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(__package__.rpartition(".")[0]).setLevel(logging.INFO)
    service = Service(engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Service]]:
        async with service.run():
            yield {"service": service}  # for connections, as their `app_state`

    # Their own pages of the document load scripts from the internet.
    pages: dict[str, Any] = {"docs_url": None, "redoc_url": None, "redirect_slashes": False}
    app = FastAPI(title=f"inference-gap: {engine.title}", lifespan=lifespan, **pages)
    app.state.service = service
    app.add_middleware(service.around)
    app.add_exception_handler(Exception, internal_error)
    app.add_exception_handler(HTTPException, http_error)
    document = partial(app.add_api_route, endpoint=service.answer, methods=["POST"])
    for path, operation in service.operations.items():
        name, shown = path.strip("/").replace("/", "_"), VERSIONED not in path
        document(path, name=name, include_in_schema=shown, **describe(operation))
    add_pages(app, engine, service.require_ready)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", responses={503: {"model": Problem, "description": "Not ready"}})
    async def ready() -> dict[str, str]:
        service.require_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        return Response(generate_latest(engine.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(app.openapi(), str(request.base_url)))

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


async def http_error(request: Request, error: Exception) -> Response:
    """The answer of a path that is no operation, in the form of its protocol."""
    assert isinstance(error, HTTPException)
    return error_response(error, error_form(request.scope["path"]))


async def internal_error(request: Request, error: Exception) -> Response:
    # Starlette raises the error again behind this answer, so its traceback reaches the log.
    # The server closes a connection over that, so no client may send its next request into it.
    answer = HTTPException(500, "internal server error", {"Connection": "close"})
    context = request.scope[CONTEXT]
    return error_response(
        answer, context.error_form if context.operation else error_form(request.scope["path"])
    )
