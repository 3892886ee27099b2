"""PyTorch in the thread pool: a text is a forward pass, a sentence a `generate`, and more of them a loop."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Union

from .config import Settings
from .web.engine import Engine
from .web.model_files import find_model_files
from .web.request_context import RequestContext
from .web.schemas import Sentiment
from .web.sentences import TranslatedSentence

if TYPE_CHECKING:
    from .models import Models, SentimentClassifier, Translator


class PyTorchEngine(Engine):
    """Each request has a thread of its own, on which it is tokenized and computed."""

    title = "baseline"
    settings: Settings
    models: "Models"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.translation_files = find_model_files(settings.models_dir, "translation/pytorch")
        self.sentiment_files = find_model_files(settings.models_dir, "sentiment/pytorch")

    def load(self) -> None:
        # PyTorch takes seconds to import: meanwhile /health answers, and a bad setting was named at once.
        from .models import Models

        self.models = Models(self.translation_files, self.sentiment_files, self.settings)

    def translate(
        self, sentences: list[str], num_beams: int, request: RequestContext
    ) -> list[TranslatedSentence]:
        model = self.models.translator
        runs = timed_runs(model, sentences, request)
        return [model.translate(token_ids, num_beams, timeout_s) for token_ids, timeout_s in runs]

    def classify(self, texts: list[str], request: RequestContext) -> list[Sentiment]:
        model = self.models.classifier
        return [model.classify(token_ids) for token_ids, _ in timed_runs(model, texts, request)]


def timed_runs(
    model: Union["Translator", "SentimentClassifier"], texts: list[str], request: RequestContext
) -> Iterator[tuple[list[int], float]]:
    """Each text's token ids and the seconds left to run it; DeadlineExceeded where there are none."""
    started_s = time.perf_counter()
    # Splitting into sentences is counted as tokenizing.
    request.add("queue", started_s - request.arrived_s - sum(request.phases_s.values()))
    batch = [model.tokenize(text) for text in texts]
    request.add("tokenize", time.perf_counter() - started_s)
    request.check_tokens(zip(texts, batch, strict=True), model.max_input_tokens, model.meaningless)
    for token_ids in batch:
        timeout_s, started_s = request.remaining_s(), time.perf_counter()
        yield token_ids, timeout_s
        request.add("inference", time.perf_counter() - started_s)
    request.remaining_s()
