"""The baseline server: what the tutorials do.

POST /translate, /translate/batch, /sentiment, /sentiment/batch; GET /health, /ready, /metrics, /docs.
Plain `def` endpoints run in FastAPI's thread pool; a batch is a loop. `python -m baseline`
serves it with settings from GAP_* variables.
"""

import logging
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, FastAPI, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from .artefacts import ArtefactError, find_artefact
from .bodies import BodyReader, text_body, texts_body, translation_body, translations_body
from .config import Settings, read_settings
from .draining import Draining, Requests
from .errors import add_error_handlers
from .lifecycle import Lifecycle, ready_models
from .schemas import (
    ERROR_ANSWERS,
    Sentiment,
    Sentiments,
    TextRequest,
    TextsRequest,
    Translation,
    TranslationRequest,
    Translations,
    TranslationsRequest,
    described,
)
from .telemetry import Metrics, RequestClock, Telemetry, request_clock

if TYPE_CHECKING:
    from .models import Models, SentimentClassifier, Translator

Clock = Annotated[RequestClock, Depends(request_clock)]
Ready = Annotated["Models", Depends(ready_models)]
Text = Annotated[TextRequest, Depends(text_body)]
Texts = Annotated[TextsRequest, Depends(texts_body)]
ToTranslate = Annotated[TranslationRequest, Depends(translation_body)]
AllToTranslate = Annotated[TranslationsRequest, Depends(translations_body)]


def translate(body: ToTranslate, models: Ready, clock: Clock) -> Translation:
    found = answer_one(models.translator, body.text, clock, num_beams=body.num_beams)
    return Translation(translation=found)


def translate_batch(body: AllToTranslate, models: Ready, clock: Clock) -> Translations:
    found = answer_each(models.translator, body.texts, clock, num_beams=body.num_beams)
    return Translations(translations=found)


def sentiment(body: Text, models: Ready, clock: Clock) -> Sentiment:
    return answer_one(models.classifier, body.text, clock)


def sentiment_batch(body: Texts, models: Ready, clock: Clock) -> Sentiments:
    return Sentiments(results=answer_each(models.classifier, body.texts, clock))


def answer_one(
    model: "Translator | SentimentClassifier", text: str, clock: RequestClock, **options: int
) -> Any:
    clock.started_working()
    with clock.phase("tokenize"):
        token_ids = model.tokenize(text, ["body", "text"])
    return infer(model, token_ids, clock, options)


def answer_each(
    model: "Translator | SentimentClassifier", texts: list[str], clock: RequestClock, **options: int
) -> list[Any]:
    clock.started_working()
    with clock.phase("tokenize"):
        tokenized = [model.tokenize(text, ["body", "texts", index]) for index, text in enumerate(texts)]
    return [infer(model, token_ids, clock, options) for token_ids in tokenized]


def infer(
    model: "Translator | SentimentClassifier",
    token_ids: list[int],
    clock: RequestClock,
    options: dict[str, int],
) -> Any:
    timeout_s = clock.remaining_s()
    with clock.phase("inference"):
        answer = model.infer(token_ids, timeout_s, **options)
    clock.remaining_s()
    return answer


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app with `settings`, else those of the environment.

    Raises:
        SystemExit: a setting is bad or the models are missing; the text is for the user.
    """
    settings = settings or read_settings()
    try:
        translation, classification = (
            find_artefact(settings.models_dir, f"{task}/pytorch") for task in ("translation", "sentiment")
        )
    except ArtefactError as error:
        raise SystemExit(f"error: {error}") from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger(__package__).setLevel(logging.INFO)

    def load() -> "Models":
        # PyTorch takes seconds to import: meanwhile /health answers, and a bad setting has been told at once.
        from .models import load_models

        return load_models(translation, classification, settings)

    requests = Requests()
    lifecycle = Lifecycle(load, requests, settings.drain_timeout_ms / 1e3)
    metrics = Metrics()
    app = FastAPI(title="inference-gap: baseline", lifespan=lifecycle.run, redirect_slashes=False)
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.bodies = bodies = BodyReader(settings)
    app.add_middleware(Draining, requests=requests)
    app.add_middleware(Telemetry, metrics=metrics)
    add_error_handlers(app)

    for path, endpoint, kind in (
        ("/translate", translate, bodies.translation),
        ("/translate/batch", translate_batch, bodies.translations),
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
    # `python -m baseline` asks for `app`; importing the module builds nothing.
    if name == "app":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
