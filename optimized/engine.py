"""ONNX Runtime INT8 behind a cache: the event loop reads, tokenizes and asks Redis, threads compute."""

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from prometheus_client import Counter

from .cache import Claim, ResultCache
from .config import Settings
from .models import Models, SentimentClassifier, Translator
from .redis_store import RedisStore
from .runtime.models import tokenize
from .runtime.onnx_files import find_onnx_files
from .thread_pool import ThreadPool
from .web.engine import Engine
from .web.errors import DeadlineExceeded
from .web.model_files import ModelFiles
from .web.request_context import RequestContext
from .web.schemas import Sentiment

Answer = TypeVar("Answer")
Infer = Callable[[list[list[int]]], list[Answer]]


class CachedEngine(Engine):
    """A batch is one packed tensor; a text that was answered, or is being computed, is not run again."""

    title = "optimized"
    settings: Settings
    models: Models

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.translation_files = find_onnx_files(settings.models_dir, "translation")
        self.sentiment_files = find_onnx_files(settings.models_dir, "sentiment")
        self.pool = ThreadPool(settings.threads, settings.max_batch_tokens)
        texts = Counter(
            "gap_cache_texts", "Texts by where their answer came from", ["outcome"], registry=self.registry
        )
        failures = "What Redis failed at, or held that was not valid"
        errors = Counter("gap_cache_errors", failures, ["kind"], registry=self.registry)
        self.store = (
            RedisStore(str(settings.redis_url), settings.cache_ttl_s, settings.redis_timeout_ms, errors)
            if settings.redis_url
            else None
        )
        namespaces = (
            f"{fingerprint(self.translation_files)}:translation",
            f"{fingerprint(self.sentiment_files)}:sentiment",
        )
        self.translations = ResultCache(self.store, namespaces[0], str, valid_translation, texts, errors)
        self.sentiments = ResultCache(
            self.store, namespaces[1], Sentiment.model_dump, valid_sentiment, texts, errors
        )

    async def load(self) -> None:
        if self.store is not None:
            await self.store.connect()
        self.models = await asyncio.to_thread(
            Models, self.translation_files, self.sentiment_files, self.settings
        )

    async def translate(self, texts: list[str], num_beams: int, request: RequestContext) -> list[str]:
        translator = self.models.translator
        infer = partial(translator.translate, num_beams=num_beams)
        return await self._answers(self.translations, translator, infer, texts, request, num_beams)

    async def classify(self, texts: list[str], request: RequestContext) -> list[Sentiment]:
        classifier = self.models.classifier
        return await self._answers(self.sentiments, classifier, classifier.classify, texts, request)

    async def close(self) -> None:
        self.pool.close()
        if self.store is not None:
            await self.store.close()

    async def _answers(
        self,
        cache: ResultCache[Answer],
        model: Translator | SentimentClassifier,
        infer: Infer[Answer],
        texts: list[str],
        request: RequestContext,
        num_beams: int = 1,
    ) -> list[Answer]:
        try:
            async with asyncio.timeout(request.remaining_s()):
                with cache.look_up(texts, num_beams) as lookup:
                    missing = await lookup.read()
                    batch = await tokenize(model, [(index, texts[index]) for index in missing], request)
                    tokens = dict(zip(missing, batch, strict=True))
                    claim = lookup.claim(missing)
                    if claim.positions:
                        own = [tokens[position] for position in claim.positions]
                        claim.start(self._fulfil(claim, infer, own, request, num_beams))
                    answers = await lookup.answers()
        except TimeoutError:
            raise DeadlineExceeded from None
        request.headers.append((b"x-cache", lookup.outcome.encode()))
        return answers

    async def _fulfil(
        self,
        claim: Claim[Answer],
        infer: Infer[Answer],
        batch: list[list[int]],
        request: RequestContext,
        num_beams: int,
    ) -> None:
        """Computes the texts of a claim; where they fail together, one by one, so that each fails alone."""
        try:
            for index, answer in enumerate(await self.pool.run(infer, batch, request, num_beams)):
                claim.fulfil(index, answer)
            return
        except Exception as error:
            if len(batch) == 1:
                claim.fail(0, error)
                return
        for index, token_ids in enumerate(batch):
            try:
                (answer,) = await self.pool.run(infer, [token_ids], request, num_beams)
            except Exception as error:
                claim.fail(index, error)
            else:
                claim.fulfil(index, answer)


def valid_translation(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a translation is a text")
    value.encode()  # half of a surrogate pair is JSON, and cannot be sent
    return value


def valid_sentiment(value: Any) -> Sentiment:
    return Sentiment.model_validate(value, strict=True)


def fingerprint(files: ModelFiles) -> str:
    """A digest of all files: another model, another fingerprint."""
    digests = "".join(entry["sha256"] for _, entry in sorted(files.facts["files"].items()))
    return hashlib.sha256(digests.encode()).hexdigest()[:16]
