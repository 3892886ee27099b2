"""The optimized server: a faster model, one tensor a batch, a cache.

POST /translate, /translate/batch, /sentiment, /sentiment/batch; GET /health, /ready, /metrics, /docs.
The event loop reads, tokenizes and asks Redis; inference runs on a thread a core. `python -m
optimized` serves it with settings from GAP_* variables.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .artefacts import ArtefactError, find_artefact
from .bodies import BodyReader, text_body, texts_body, translation_body, translations_body
from .cache import ResultCache
from .config import Settings, read_settings
from .draining import Draining, Requests
from .errors import DeadlineExceeded, add_error_handlers
from .hot_routes import HotRoutes
from .inference import Infer, InferencePool
from .lifecycle import Lifecycle, ready_models
from .models import SentimentClassifier, Translator, load_models
from .schemas import (
    ERROR_ANSWERS,
    Sentiment,
    Sentiments,
    Translation,
    Translations,
    answered,
    described,
)
from .store import RedisStore
from .telemetry import Metrics, Telemetry, request_clock

Place = list[str | int]


class Asked(NamedTuple):
    """A request's texts, where each stands in it, and how wide to search."""

    texts: list[str]
    where: list[Place]
    num_beams: int = 1


ReadTexts = Callable[[Request], Awaitable[Asked]]


class Answerer:
    """What a request needs besides the models: the caches, by number of beams, and the inference threads."""

    def __init__(self, settings: Settings, fingerprints: dict[str, str], metrics: Metrics) -> None:
        self.pool = InferencePool(settings.threads, settings.max_batch_tokens)
        self.store = (
            RedisStore(str(settings.redis_url), settings.cache_ttl_s, settings.redis_timeout_ms, metrics)
            if settings.redis_url
            else None
        )
        translations = f"{fingerprints['translation']}:translation"
        sentiments = f"{fingerprints['sentiment']}:sentiment"
        self.translations = {
            beams: ResultCache(
                self.store, translations if beams == 1 else f"{translations}:{beams}", str, a_text, metrics
            )
            for beams in range(1, settings.max_num_beams + 1)
        }
        self.sentiments = {1: ResultCache(self.store, sentiments, Sentiment.model_dump, a_sentiment, metrics)}

    async def answer(
        self,
        request: Request,
        caches: Mapping[int, ResultCache[Any]],
        model: Translator | SentimentClassifier,
        read: ReadTexts,
    ) -> list[Any]:
        """The answers to a request's texts; InvalidInput names the place of a bad one: none is computed."""
        clock = await request_clock(request)
        asked = await read(request)
        infer: Infer = model.infer
        if asked.num_beams > 1:
            infer = partial(infer, num_beams=asked.num_beams)

        async def tokenize(positions: list[int]) -> list[list[int]]:
            found: list[list[int]] = []
            for position in positions:
                if found:
                    # Other requests go on between the texts of a large batch.
                    await asyncio.sleep(0)
                with clock.phase("tokenize"):
                    found.append(model.tokenize(asked.texts[position], asked.where[position]))
            return found

        async def compute(tokens: list[list[int]]) -> list[Any]:
            return await self.pool.infer(infer, tokens, clock, asked.num_beams)

        try:
            async with asyncio.timeout(clock.remaining_s()):
                answers, clock.cache = await caches[asked.num_beams].answers(asked.texts, tokenize, compute)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed before the answer was there") from None
        return answers

    async def open(self) -> None:
        if self.store is not None:
            await self.store.connect()

    async def close(self) -> None:
        self.pool.close()
        if self.store is not None:
            await self.store.close()


def a_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a translation is a text")
    value.encode()  # half of a surrogate pair is JSON, and cannot be sent
    return value


def a_sentiment(value: Any) -> Sentiment:
    return Sentiment.model_validate(value, strict=True)


async def translate(request: Request) -> Response:
    by: Answerer = request.app.state.answerer
    (found,) = await by.answer(request, by.translations, ready_models(request).translator, one_translation)
    return answered(Translation(translation=found))


async def translate_batch(request: Request) -> Response:
    by: Answerer = request.app.state.answerer
    found = await by.answer(request, by.translations, ready_models(request).translator, many_translations)
    return answered(Translations(translations=found))


async def sentiment(request: Request) -> Response:
    by: Answerer = request.app.state.answerer
    (found,) = await by.answer(request, by.sentiments, ready_models(request).classifier, one_text)
    return answered(found)


async def sentiment_batch(request: Request) -> Response:
    by: Answerer = request.app.state.answerer
    found = await by.answer(request, by.sentiments, ready_models(request).classifier, many_texts)
    return answered(Sentiments(results=found))


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
    requests = Requests()
    lifecycle = Lifecycle(
        lambda: load_models(translation, classification, settings), requests, settings.drain_timeout_ms / 1e3
    )
    metrics = Metrics()
    fingerprints = {"translation": translation.fingerprint, "sentiment": classification.fingerprint}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.answerer = Answerer(settings, fingerprints, metrics)
        await app.state.answerer.open()
        async with lifecycle.run(app):
            yield
        await app.state.answerer.close()

    app = FastAPI(title="inference-gap: optimized", lifespan=lifespan, redirect_slashes=False)
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.bodies = bodies = BodyReader(settings)
    add_error_handlers(app)
    for path, endpoint, kind, answer_kind in (
        ("/translate", translate, bodies.translation, Translation),
        ("/translate/batch", translate_batch, bodies.translations, Translations),
        ("/sentiment", sentiment, bodies.text, Sentiment),
        ("/sentiment/batch", sentiment_batch, bodies.texts, Sentiments),
    ):
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
        lifecycle.models()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def __getattr__(name: str) -> FastAPI:
    # `python -m optimized` asks for `app`; importing the module builds nothing.
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
