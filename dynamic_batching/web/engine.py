"""What joins the frame to an experiment: the one interface that all engines have."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar, Protocol, TypeVar, Union

from anyio import to_thread
from prometheus_client import CollectorRegistry

from .errors import Refusal
from .model_files import ModelFiles
from .request_context import RequestContext
from .schemas import Sentiment
from .sentences import SentenceModel, TranslatedSentence
from .settings import HttpSettings

Result = TypeVar("Result")
MaybeAsync = Union[Awaitable[Result], Result]  # noqa: UP007, a TypeVar cannot be joined by |


class Classifier(Protocol):
    """What the frame needs to know of a sentiment model; `labels` are in the model's order."""

    labels: list[str]
    max_input_tokens: int


class Models(Protocol):
    """What the frame needs to know of an engine's models."""

    @property
    def translator(self) -> SentenceModel: ...

    @property
    def classifier(self) -> Classifier: ...


class Engine(ABC):
    """Answers texts. A plain `def` of it runs in the thread pool, an `async def` on the event loop.

    Its constructor sets its files, loads none, and may raise ModelFilesError; `registry` is on /metrics.
    `load` sets `models`; texts are split into sentences for its translator.
    """

    title: ClassVar[str]
    translation_files: ModelFiles
    sentiment_files: ModelFiles
    models: Models

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        # Called, on the event loop, with why it can answer no more and never will: that ends the server.
        self.on_broken: Callable[[str], None] = lambda problem: None

    @abstractmethod
    def load(self) -> MaybeAsync[None]:
        """Loads the models; returns once they are warm. What it raises ends the server."""

    @abstractmethod
    def translate(
        self, sentences: list[str], num_beams: int, request: RequestContext
    ) -> MaybeAsync[list[TranslatedSentence]]:
        """The translations of `sentences`, of which there is at least one, in order; raises HTTPException."""

    @abstractmethod
    def classify(self, texts: list[str], request: RequestContext) -> MaybeAsync[list[Sentiment]]:
        """The sentiments of `texts` in order; raises HTTPException."""

    def refusal(self, task: str, deadline_s: float) -> Refusal | None:
        """Why a request of `task` is not taken; asked once, when its header is there, on the event loop."""
        return None

    def unready(self) -> str | None:
        """What does not work, though it is loaded."""
        return None

    def close(self) -> MaybeAsync[None]:
        """Lets go of threads and connections; nobody waits for an answer any more."""
        return None


def awaitable(call: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """An `async def` as it is; a plain `def` in the thread pool, where it goes on after a cancellation."""
    if inspect.iscoroutinefunction(call):
        return call
    return lambda *arguments: to_thread.run_sync(partial(call, *arguments), abandon_on_cancel=True)
