"""What clients may ask besides the servers' own routes: protocols that have clients of their own.

`operations` are the POSTs to the engine, which the service answers; `add_pages` adds the rest.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from ..engine import Engine
from ..errors import ErrorForm, detail_form, text_form
from ..operation import Operation
from ..schemas import ErrorText
from ..text_operations import text_operations
from . import text_embeddings_inference as tei
from .libretranslate import Language, LibreTranslate, language_list
from .open_inference_protocol import OUTPUTS, SERVER, VERSION, Infer, configuration, metadata

V2 = "/v2"
VERSIONED = f"/versions/{VERSION}"


def operations(engine: Engine) -> dict[str, Operation]:
    """The POST operations by path."""
    settings = engine.settings
    found = text_operations(settings)
    found["/translate"].other = LibreTranslate(settings, engine.translation_files.languages)
    found["/predict"] = tei.Predict(settings)
    for task in OUTPUTS:
        for version in ("", VERSIONED):
            found[f"{V2}/models/{task}{version}/infer"] = Infer(settings, task)
    return found


def error_form(path: str) -> ErrorForm:
    """How errors are written to who asks for a path that is no operation."""
    if path == V2 or path.startswith(f"{V2}/"):
        return text_form
    return tei.error_form if path == "/info" else detail_form


def add_pages(app: FastAPI, engine: Engine, require_ready: Callable[[], None]) -> None:
    """Adds the GET routes; `require_ready` raises NotReady."""
    files = {"translation": engine.translation_files, "sentiment": engine.sentiment_files}

    @app.get("/languages")
    async def languages() -> list[Language]:
        return language_list(files["translation"].languages)

    @app.get("/info", responses={503: {"model": tei.PredictError, "description": "Not ready"}})
    async def info() -> tei.Info:
        require_ready()
        classifier, facts = engine.models.classifier, files["sentiment"].facts
        return tei.info(classifier, facts, engine.settings.max_batch_texts)

    def add(path: str, answer: dict[str, Any]) -> None:
        async def page() -> dict[str, Any]:
            if path.endswith("/ready"):
                require_ready()
            return answer

        not_ready = {503: {"model": ErrorText, "description": "Not ready"}}
        responses: Any = not_ready if path.endswith("/ready") else {}
        name, shown = path.strip("/").replace("/", "_"), VERSIONED not in path
        app.add_api_route(path, page, name=name, responses=responses, include_in_schema=shown)

    add(V2, SERVER)
    add(f"{V2}/health/live", {"live": True})
    add(f"{V2}/health/ready", {"ready": True})
    for task in OUTPUTS:
        platform = files[task].facts.get("format", "")
        for path in (f"{V2}/models/{task}", f"{V2}/models/{task}{VERSIONED}"):
            add(path, metadata(task, platform))
            add(f"{path}/config", configuration(task, platform, engine.settings.max_batch_texts))
            add(f"{path}/ready", {"name": task, "ready": True})
