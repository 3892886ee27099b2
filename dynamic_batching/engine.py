"""A scheduler a task: the event loop reads, tokenizes and admits; workers batch what waits and run it."""

import asyncio
from typing import Any

from .batch_worker import BatchWorker, Infer
from .config import Settings
from .cpu_scheduling import yield_to_workers
from .decode_worker import DecodeWorker
from .latency_model import BatchLatencyModel, DecodeLatencyModel
from .models import WARMUP_TEXT, Models, Translator, warmup_batches
from .queue import RequestQueue
from .runtime.models import tokenize
from .runtime.onnx_files import find_onnx_files
from .scheduler import Scheduler
from .scheduler_metrics import SchedulerMetrics
from .sequence import Batch, Sequence, Steps
from .trace import Trace
from .web.engine import Engine
from .web.errors import Refusal
from .web.request_context import RequestContext
from .web.schemas import Sentiment
from .web.sentences import TranslatedSentence
from .worker import SchedulerCallbacks


class BatchingEngine(Engine):
    """Requests of a task wait in one queue; a long translation keeps no sentiment waiting."""

    title = "dynamic batching"
    settings: Settings
    models: Models
    translation: Scheduler[Any]
    sentiment: Scheduler[Batch]

    def __init__(self, settings: Settings) -> None:
        # Each beam takes a slot, and only slots search by beams.
        slots = settings.max_batch_size if settings.translation_batching == "continuous" else 1
        num_beams = min(settings.max_num_beams, slots)
        super().__init__(settings.model_copy(update={"max_num_beams": num_beams}))
        self.translation_files = find_onnx_files(settings.models_dir, "translation")
        self.sentiment_files = find_onnx_files(settings.models_dir, "sentiment")
        self._metrics = SchedulerMetrics(self.registry)

    async def load(self) -> None:
        files = self.translation_files, self.sentiment_files
        await self.start(await asyncio.to_thread(Models, *files, self.settings))

    async def start(self, models: Models) -> None:
        """Starts the workers of both tasks, and returns once they are warm."""
        settings = self.settings
        self.models = models
        trace = Trace(settings.trace_path) if settings.trace_path else None
        # A batch that is decoded to its end reads all weights at each step: the more texts, the better.
        whole_batch_tokens = settings.max_batch_size * settings.max_input_tokens
        if settings.translation_batching == "continuous":
            self.translation = self._decoding(models.translator, trace)
        else:
            translator = models.translator
            warmup = self._warmup_batches(translator.tokenize(WARMUP_TEXT))
            self.translation = self._batching(
                "translation", translator.translate, whole_batch_tokens, warmup, trace
            )
        classifier = models.classifier
        warmup = self._warmup_batches(classifier.tokenize(WARMUP_TEXT))
        self.sentiment = self._batching(
            "sentiment", classifier.classify, settings.max_batch_tokens, warmup, trace
        )
        for scheduler in (self.translation, self.sentiment):
            scheduler.pool.on_given_up = self.on_broken
        yield_to_workers()
        # One after the other: a warm-up measures how fast the model is when it has its cores to itself.
        await self.translation.start()
        await self.sentiment.start()

    async def translate(
        self, sentences: list[str], num_beams: int, request: RequestContext
    ) -> list[TranslatedSentence]:
        translator = self.models.translator
        batch = await tokenize(translator, sentences, request)
        sequences = [translator.sequence(token_ids, num_beams) for token_ids in batch]
        return await self.translation.submit(sequences, request)

    async def classify(self, texts: list[str], request: RequestContext) -> list[Sentiment]:
        batch = await tokenize(self.models.classifier, texts, request)
        return await self.sentiment.submit([Sequence(token_ids) for token_ids in batch], request)

    def refusal(self, task: str, deadline_s: float) -> Refusal | None:
        scheduler = self.translation if task == "translation" else self.sentiment
        return scheduler.refusal_at_header(deadline_s)

    def unready(self) -> str | None:
        for scheduler in (self.translation, self.sentiment):
            if not scheduler.pool.healthy():
                return f"the {scheduler.task} worker does not work"
        return None

    async def close(self) -> None:
        for scheduler in (self.translation, self.sentiment):
            scheduler.close()

    def _warmup_batches(self, token_ids: list[int]) -> list[list[list[int]]]:
        return warmup_batches(token_ids, self.settings.max_batch_size, self.settings.max_batch_tokens)

    def _decoding(self, translator: Translator, trace: Trace | None) -> Scheduler[Steps]:
        settings = self.settings
        queue = RequestQueue(settings.max_batch_size, settings.max_prefill_tokens, settings.max_wait_ms / 1e3)
        latency = DecodeLatencyModel(settings.threads, settings.max_batch_size)

        def make_worker(callbacks: SchedulerCallbacks[Steps], name: str) -> DecodeWorker:
            return DecodeWorker(callbacks, name, queue, translator, settings.threads)

        return Scheduler("translation", settings, queue, latency, make_worker, self._metrics, trace)

    def _batching(
        self,
        task: str,
        infer: Infer,
        max_batch_tokens: int,
        warmup: list[list[list[int]]],
        trace: Trace | None,
    ) -> Scheduler[Batch]:
        settings = self.settings
        queue = RequestQueue(settings.max_batch_size, max_batch_tokens, settings.max_wait_ms / 1e3)
        latency = BatchLatencyModel(settings.threads)

        def make_worker(callbacks: SchedulerCallbacks[Batch], name: str) -> BatchWorker:
            return BatchWorker(callbacks, name, queue, latency, infer, warmup)

        return Scheduler(task, settings, queue, latency, make_worker, self._metrics, trace)
