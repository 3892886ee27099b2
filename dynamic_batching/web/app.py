"""The dynamic batching server: requests that arrive one by one leave as batches.

POST /translate, /translate/batch, /sentiment, /sentiment/batch; GET /health, /ready, /metrics, /docs.
The event loop reads, tokenizes and admits; a task's engines form batches of what waits and run them.
`python -m dynamic_batching` serves it with settings from GAP_* variables.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .artefacts import ArtefactError, find_artefact
from .batch_metrics import BatchMetrics
from .batcher import Batcher
from .batchers import Batchers
from .bodies import BodyReader, text_body, texts_body, translation_body, translations_body
from .config import Settings, read_settings
from .draining import Draining, Requests
from .errors import add_error_handlers
from .gate import GATE, Gate
from .hot_routes import HotRoutes
from .lifecycle import Lifecycle, ready_batchers
from .models import load_models
from .schemas import (
    ERROR_ANSWERS,
    Sentiment,
    Sentiments,
    Translation,
    Translations,
    answered,
    described,
)
from .telemetry import Metrics, Telemetry, request_clock

Place = list[str | int]


class Asked(NamedTuple):
    """A request's texts, where each stands in it, and how wide to search."""

    texts: list[str]
    where: list[Place]
    num_beams: int = 1


ReadTexts = Callable[[Request], Awaitable[Asked]]


async def translate(request: Request) -> Response:
    (found,) = await answer(request, ready_batchers(request).translation, one_translation)
    return answered(Translation(translation=found))


async def translate_batch(request: Request) -> Response:
    found = await answer(request, ready_batchers(request).translation, many_translations)
    return answered(Translations(translations=found))


async def sentiment(request: Request) -> Response:
    (found,) = await answer(request, ready_batchers(request).sentiment, one_text)
    return answered(found)


async def sentiment_batch(request: Request) -> Response:
    found = await answer(request, ready_batchers(request).sentiment, many_texts)
    return answered(Sentiments(results=found))


async def answer(request: Request, batcher: Batcher, read: ReadTexts) -> list[Any]:
    """The answers to a request's texts; InvalidInput names the place of a bad one, and then none is admitted.

    A server that is full refuses before it has read and tokenized anything.
    """
    clock = await request_clock(request)
    if refusal := batcher.refusal(clock):
        raise refusal
    asked = await read(request)
    tokens: list[list[int]] = []
    for text, place in zip(asked.texts, asked.where, strict=True):
        if tokens:
            # Other requests go on between the texts of a large batch.
            await asyncio.sleep(0)
        started_s = time.perf_counter()
        tokens.append(batcher.model.tokenize(text, place))
        clock.add("tokenize", time.perf_counter() - started_s)
    return await batcher.infer(tokens, clock, request.receive, asked.num_beams)


async def one_text(request: Request) -> Asked:
    return Asked([(await text_body(request)).text], [["body", "text"]])


async def many_texts(request: Request) -> Asked:
    texts = (await texts_body(request)).texts
    return Asked(texts, places(texts))


async def one_translation(request: Request) -> Asked:
    body = await translation_body(request)
    return Asked([body.text], [["body", "text"]], body.num_beams)


async def many_translations(request: Request) -> Asked:
    body = await translations_body(request)
    return Asked(body.texts, places(body.texts), body.num_beams)


def places(texts: list[str]) -> list[Place]:
    return [["body", "texts", index] for index in range(len(texts))]


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app with `settings`, else those of the environment.

    Raises:
        SystemExit: a setting is bad or the models are missing; the text is for the user.
    """
    settings = settings or read_settings()
    try:
        translation, classification = (
            find_artefact(settings.models_dir, f"{task}/onnx") for task in ("translation", "sentiment")
        )
    except ArtefactError as error:
        raise SystemExit(f"error: {error}") from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)
    metrics = Metrics()

    async def load() -> Batchers:
        models = await asyncio.to_thread(load_models, translation, classification, settings)
        batchers = Batchers(models, settings, BatchMetrics(metrics.registry))
        await batchers.start()
        return batchers

    requests = Requests()
    lifecycle = Lifecycle(load, requests, settings.drain_timeout_ms / 1e3)
    batcher_of: dict[str, Callable[[], Batcher]] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Gate]]:
        async with lifecycle.run(app):
            yield {GATE: Gate(batcher_of, settings.timeout_ms, metrics)}

    app = FastAPI(title="inference-gap: dynamic batching", lifespan=lifespan, redirect_slashes=False)
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.bodies = bodies = BodyReader(settings)
    add_error_handlers(app)
    for path, task, endpoint, kind, answer_kind in (
        ("/translate", "translation", translate, bodies.translation, Translation),
        ("/translate/batch", "translation", translate_batch, bodies.translations, Translations),
        ("/sentiment", "sentiment", sentiment, bodies.text, Sentiment),
        ("/sentiment/batch", "sentiment", sentiment_batch, bodies.texts, Sentiments),
    ):
        batcher_of[path] = partial(lifecycle.batcher, task)
        app.post(path, response_model=answer_kind, responses=ERROR_ANSWERS, openapi_extra=described(kind))(
            endpoint
        )
    posts = {route.path: route for route in app.routes if isinstance(route, APIRoute)}
    app.add_middleware(HotRoutes, routes=posts)
    app.add_middleware(Draining, requests=requests)
    app.add_middleware(Telemetry, metrics=metrics)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", responses={503: ERROR_ANSWERS[503]})
    async def ready() -> dict[str, str]:
        lifecycle.check_ready()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def __getattr__(name: str) -> FastAPI:
    # `python -m dynamic_batching` asks for `app`; importing the module builds nothing.
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
