"""The two tasks' batchers, started, drained and closed together."""

from .batch_metrics import BatchMetrics
from .batcher import Batcher
from .config import Settings
from .models import Models
from .scheduling import yield_to_engines
from .trace import Trace


class Batchers:
    """One batcher a task: a long translation keeps no sentiment waiting."""

    def __init__(self, models: Models, settings: Settings, metrics: BatchMetrics) -> None:
        slots = settings.translation_batching == "continuous"
        # A batch that is decoded to its end reads all weights at each step: the more texts, the better.
        tokens = settings.max_prefill_tokens if slots else settings.max_batch_size * settings.max_input_tokens
        trace = Trace(settings.trace_path) if settings.trace_path else None
        self.translation = Batcher(
            "translation", models.translator, settings, tokens, metrics, slots=slots, trace=trace
        )
        self.sentiment = Batcher(
            "sentiment", models.classifier, settings, settings.max_batch_tokens, metrics, trace=trace
        )
        self._all = (self.translation, self.sentiment)

    async def start(self) -> None:
        """One after the other: a warm-up measures how fast the model is when it has its cores to itself."""
        yield_to_engines()
        for batcher in self._all:
            await batcher.start()

    def unhealthy(self) -> str | None:
        """The task whose engines do not all work, if there is one."""
        return next((batcher.task for batcher in self._all if not batcher.pool.healthy()), None)

    def drain(self, timeout_s: float) -> None:
        """Admits nothing from now on, and answers what was admitted or drops it after `timeout_s`."""
        for batcher in self._all:
            batcher.drain(timeout_s)

    def close(self) -> None:
        for batcher in self._all:
            batcher.close()
