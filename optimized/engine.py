"""ONNX Runtime INT8 behind a cache: the event loop reads, tokenizes and asks Redis, threads compute."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from typing import TypeVar

from prometheus_client import Counter

from .cache import Claim, Lookup, ResultCache
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
from .web.sentences import TranslatedSentence

Answer = TypeVar("Answer")
Compute = Callable[[list[list[int]]], Awaitable[list[Answer]]]
Model = Translator | SentimentClassifier


class CachedEngine(Engine):
    """A batch is one packed tensor; what was answered, or is being computed, is not run again.

    A translation is cached by the sentence, so that texts share the sentences that they have in common.
    """

    title = "optimized"
    settings: Settings
    models: Models

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.translation_files = find_onnx_files(settings.models_dir, "translation")
        self.sentiment_files = find_onnx_files(settings.models_dir, "sentiment")
        self.pool = ThreadPool(settings.threads, settings.max_batch_tokens)
        text = "What Redis failed at, or held that was not valid"
        errors = Counter("gap_cache_errors", text, ["kind"], registry=self.registry)
        url, limits = settings.redis_url, (settings.cache_ttl_s, settings.redis_timeout_ms)
        self.store = store = RedisStore(str(url.get_secret_value()), *limits, errors) if url else None
        text = "Texts by where their answer came from"
        texts = Counter("gap_cache_texts", text, ["outcome"], registry=self.registry)
        namespace = f"{fingerprint(self.translation_files)}:translation"
        self.translations = ResultCache(namespace, TranslatedSentence, store, texts)
        namespace = f"{fingerprint(self.sentiment_files)}:sentiment"
        self.sentiments = ResultCache(namespace, Sentiment, store, texts)

    async def load(self) -> None:
        if self.store is not None:
            await self.store.connect()
        files = self.translation_files, self.sentiment_files
        self.models = await asyncio.to_thread(Models, *files, self.settings)

    async def translate(
        self, sentences: list[str], num_beams: int, request: RequestContext
    ) -> list[TranslatedSentence]:
        translator, cache = self.models.translator, self.translations
        infer = partial(translator.translate, num_beams=num_beams)
        compute = partial(self.pool.run, infer, num_beams=num_beams, request=request)
        return await answer(cache.look_up(sentences, num_beams), translator, compute, sentences, request)

    async def classify(self, texts: list[str], request: RequestContext) -> list[Sentiment]:
        classifier, cache = self.models.classifier, self.sentiments
        compute = partial(self.pool.run, classifier.classify, num_beams=1, request=request)
        return await answer(cache.look_up(texts), classifier, compute, texts, request)

    async def close(self) -> None:
        self.pool.close()
        if self.store is not None:
            await self.store.close()


async def answer(
    lookup: Lookup[Answer], model: Model, compute: Compute[Answer], texts: list[str], request: RequestContext
) -> list[Answer]:
    """The answers to texts; those that nobody knows or computes are tokenized and computed."""
    try:
        async with asyncio.timeout(request.remaining_s()):
            with closing(lookup):
                missing = await lookup.read()
                batch = await tokenize(model, [texts[index] for index in missing], request)
                claim = lookup.claim(missing)
                if claim.positions:
                    tokens = dict(zip(missing, batch, strict=True))
                    own = {key: tokens[position] for key, position in claim.positions.items()}
                    claim.task = asyncio.create_task(fulfil(claim, compute, own))
                answers = await lookup.answers()
    except TimeoutError:
        raise DeadlineExceeded from None
    request.headers.append((b"x-cache", lookup.outcome.encode()))
    return answers


async def fulfil(claim: Claim[Answer], compute: Compute[Answer], tokens: dict[bytes, list[int]]) -> None:
    """Computes texts of a claim, by key; where they fail, one by one, so that each fails alone."""
    try:
        answers = await compute([*tokens.values()])
    except Exception as error:
        if len(tokens) == 1:
            claim.fail(next(iter(tokens)), error)
            return
        for key, token_ids in tokens.items():
            await fulfil(claim, compute, {key: token_ids})
    else:
        for key, answer in zip(tokens, answers, strict=True):
            claim.fulfil(key, answer)


def fingerprint(files: ModelFiles) -> str:
    """A digest of all files: another model, another fingerprint."""
    digests = "".join(entry["sha256"] for _, entry in sorted(files.facts["files"].items()))
    return hashlib.sha256(digests.encode()).hexdigest()[:16]
