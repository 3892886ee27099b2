"""The optimized server: a faster model, one tensor a batch, a cache.

POST /translate, /translate/batch, /sentiment, /sentiment/batch; GET /health, /ready, /metrics, /docs.
The event loop reads, tokenizes and asks Redis; inference runs on a thread a core. `uvicorn
optimized.server:app` serves it with settings from GAP_* variables.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .artefacts import ArtefactError, find_artefact
from .cache import ResultCache
from .config import Settings, read_settings
from .errors import DeadlineExceeded, add_error_handlers
from .inference import InferencePool
from .lifecycle import Lifecycle, ready_models
from .models import Models, SentimentClassifier, Translator
from .schemas import (
    ERROR_ANSWERS,
    BodyReader,
    Sentiment,
    Sentiments,
    TextRequest,
    TextsRequest,
    Translation,
    Translations,
    described,
    text_body,
    texts_body,
)
from .store import RedisStore
from .telemetry import Metrics, RequestClock, Telemetry, request_clock

Clock = Annotated[RequestClock, Depends(request_clock)]
Ready = Annotated[Models, Depends(ready_models)]
Text = Annotated[TextRequest, Depends(text_body)]
Texts = Annotated[TextsRequest, Depends(texts_body)]


class Answerer:
    """What a request needs besides the models: the two caches and the threads for inference."""

    def __init__(self, settings: Settings, fingerprints: dict[str, str], metrics: Metrics) -> None:
        self.pool = InferencePool(settings.threads, settings.max_batch_tokens)
        self.store = (
            RedisStore(str(settings.redis_url), settings.cache_ttl_s, settings.redis_timeout_ms, metrics)
            if settings.redis_url
            else None
        )
        self.translations: ResultCache[str] = ResultCache(
            self.store, f"{fingerprints['translation']}:translation", str, a_text, metrics
        )
        self.sentiments: ResultCache[Sentiment] = ResultCache(
            self.store,
            f"{fingerprints['sentiment']}:sentiment",
            Sentiment.model_dump,
            Sentiment.model_validate,
            metrics,
        )

    async def answer(
        self,
        cache: ResultCache[Any],
        model: Translator | SentimentClassifier,
        texts: list[str],
        where: list[list[str | int]],
        clock: RequestClock,
    ) -> list[Any]:
        """The answers to `texts`; InvalidInput names the place of a bad one, and then none is computed."""

        async def tokenize(positions: list[int]) -> list[list[int]]:
            found = []
            for position in positions:
                with clock.phase("tokenize"):
                    found.append(model.tokenize(texts[position], where[position]))
                # Other requests go on between the texts of a large batch.
                await asyncio.sleep(0)
            return found

        async def compute(tokens: list[list[int]]) -> list[Any]:
            return await self.pool.infer(model, tokens, clock)

        try:
            async with asyncio.timeout(clock.remaining_s()):
                answers, clock.cache = await cache.answers(texts, tokenize, compute)
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
    return value


async def answerer(request: Request) -> Answerer:
    return request.app.state.answerer


Answers = Annotated[Answerer, Depends(answerer)]


async def translate(body: Text, models: Ready, clock: Clock, by: Answers) -> Translation:
    where: list[list[str | int]] = [["body", "text"]]
    (found,) = await by.answer(by.translations, models.translator, [body.text], where, clock)
    return Translation(translation=found)


async def translate_batch(body: Texts, models: Ready, clock: Clock, by: Answers) -> Translations:
    found = await by.answer(by.translations, models.translator, body.texts, places(body), clock)
    return Translations(translations=found)


async def sentiment(body: Text, models: Ready, clock: Clock, by: Answers) -> Sentiment:
    where: list[list[str | int]] = [["body", "text"]]
    (found,) = await by.answer(by.sentiments, models.classifier, [body.text], where, clock)
    return found


async def sentiment_batch(body: Texts, models: Ready, clock: Clock, by: Answers) -> Sentiments:
    found = await by.answer(by.sentiments, models.classifier, body.texts, places(body), clock)
    return Sentiments(results=found)


def places(body: TextsRequest) -> list[list[str | int]]:
    return [["body", "texts", index] for index in range(len(body.texts))]


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
    lifecycle = Lifecycle(lambda: Models(translation, classification, settings))
    metrics = Metrics()
    fingerprints = {"translation": translation.fingerprint, "sentiment": classification.fingerprint}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.answerer = Answerer(settings, fingerprints, metrics)
        await app.state.answerer.open()
        async with lifecycle.run(app):
            yield
        await app.state.answerer.close()

    app = FastAPI(title="inference-gap: optimized", lifespan=lifespan)
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.bodies = bodies = BodyReader(settings)
    app.add_middleware(Telemetry, metrics=metrics)
    add_error_handlers(app)

    for path, endpoint, kind in (
        ("/translate", translate, bodies.text),
        ("/translate/batch", translate_batch, bodies.texts),
        ("/sentiment", sentiment, bodies.text),
        ("/sentiment/batch", sentiment_batch, bodies.texts),
    ):
        app.post(path, responses=ERROR_ANSWERS, openapi_extra=described(kind))(endpoint)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", responses={503: ERROR_ANSWERS[503]})
    async def ready(models: Ready) -> dict[str, str]:
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    async def metrics_page() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def __getattr__(name: str) -> FastAPI:
    # `uvicorn optimized.server:app` asks for `app`; importing the module builds nothing.
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
