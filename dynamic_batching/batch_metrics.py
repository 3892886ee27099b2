"""What the batchers did, as Prometheus metrics.

Requests are counted by the batchers in plain numbers, which are read when the page is asked for: one page
holds one moment, so its counts add up, and a request pays nothing for them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .job import Batch

if TYPE_CHECKING:
    from .batcher import Batcher

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1_024, 2_048)


class BatchMetrics(Collector):
    """Histograms of batches; counters and gauges of requests, of which holds at any moment:
    admitted = answered + failed + dropped + pending."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batchers: list[Batcher] = []
        self.size = Histogram(
            "gap_batch_size", "Texts in a batch", ["task"], buckets=SIZES, registry=registry
        )
        self.tokens = Histogram(
            "gap_batch_tokens", "Tokens in a batch", ["task"], buckets=TOKENS, registry=registry
        )
        self.queue_wait = Histogram(
            "gap_queue_wait_seconds",
            "Longest wait of a batch's texts, from admission until it was formed",
            ["task"],
            buckets=SECONDS,
            registry=registry,
        )
        self.inference = Histogram(
            "gap_batch_inference_seconds", "Time of a run", ["task"], buckets=SECONDS, registry=registry
        )
        registry.register(self)

    def observe(self, batcher: "Batcher") -> None:
        """From now on the page shows this batcher's numbers."""
        self._batchers.append(batcher)

    def record(self, task: str, batch: Batch) -> None:
        """A batch that was run."""
        self.size.labels(task).observe(len(batch.texts))
        self.tokens.labels(task).observe(batch.tokens)
        # The oldest text is the first.
        self.queue_wait.labels(task).observe(batch.formed_s - batch.texts[0].job.admitted_s)
        self.inference.labels(task).observe(batch.duration_s)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, text, number in (
            ("gap_admitted", "Requests admitted", lambda of: of.admitted),
            ("gap_answered", "Admitted requests that were answered", lambda of: of.answered),
            ("gap_failed", "Admitted requests that failed", lambda of: of.failed),
        ):
            counter = CounterMetricFamily(name, text, labels=["task"])
            for batcher in self._batchers:
                counter.add_metric([batcher.task], number(batcher))
            yield counter
        for name, text, causes in (
            ("gap_refused", "Requests refused at once, by cause", lambda of: of.admission.refused),
            ("gap_dropped", "Admitted requests given up, by cause", lambda of: of.dropped),
        ):
            counter = CounterMetricFamily(name, text, labels=["task", "cause"])
            for batcher in self._batchers:
                for cause, count in causes(batcher).items():
                    counter.add_metric([batcher.task, cause], count)
            yield counter
        for name, text, number in (
            ("gap_pending", "Admitted requests that wait or run", lambda of: len(of.jobs)),
            ("gap_queue_requests", "Requests that wait", lambda of: of.queue.requests),
            ("gap_queue_tokens", "Tokens that wait", lambda of: of.queue.tokens),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["task"])
            for batcher in self._batchers:
                gauge.add_metric([batcher.task], number(batcher))
            yield gauge
