"""What the batchers did, as Prometheus metrics.

Requests are counted by the batchers in plain numbers, which are read when the page is asked for: one page
holds one moment, so its counts add up, and a request pays nothing for them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .decode_cost import Steps
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
            "gap_batch_size",
            "Texts in a batch, or in a decoding step",
            ["task"],
            buckets=SIZES,
            registry=registry,
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
            "gap_batch_inference_seconds",
            "Time of a run or a step",
            ["task"],
            buckets=SECONDS,
            registry=registry,
        )
        self.joined, self.left, self.decoded_tokens, self.prefill_tokens, self.prefill = (
            Counter(name, text, ["task"], registry=registry)
            for name, text in (
                ("gap_joined", "Texts that were given a slot"),
                ("gap_left", "Texts that left their slot with an answer"),
                ("gap_decoded_tokens", "Tokens decoded, one a row and step"),
                ("gap_prefill_tokens", "Source tokens encoded for texts that joined"),
                ("gap_prefill_seconds", "Time of encoding between steps and beside them"),
            )
        )
        registry.register(self)

    def observe(self, batcher: "Batcher") -> None:
        """From now on the page shows this batcher's numbers."""
        self._batchers.append(batcher)

    def record(self, task: str, run: Batch | Steps) -> None:
        """A batch that was run, or the steps since the last record."""
        if isinstance(run, Batch):
            self.size.labels(task).observe(len(run.texts))
            self.tokens.labels(task).observe(run.tokens)
            self.queue_wait.labels(task).observe(run.queue_wait_s)
            self.inference.labels(task).observe(run.duration_s)
            return
        size, inference, queue_wait = (
            histogram.labels(task) for histogram in (self.size, self.inference, self.queue_wait)
        )
        for rows, seconds in zip(run.rows, run.seconds, strict=True):
            size.observe(rows)
            inference.observe(seconds)
        for wait_s in run.waits_s:
            queue_wait.observe(wait_s)
        self.joined.labels(task).inc(run.joined_texts)
        self.left.labels(task).inc(len(run.lengths))
        self.decoded_tokens.labels(task).inc(sum(run.rows))
        self.prefill_tokens.labels(task).inc(run.prefill_tokens)
        self.prefill.labels(task).inc(run.prefill_s + run.aside_s)

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
            ("gap_occupied_slots", "Texts that engines are at, times their beams", lambda of: of.rows()),
            ("gap_queue_requests", "Requests that wait", lambda of: of.queue.requests),
            ("gap_queue_tokens", "Tokens that wait", lambda of: of.queue.tokens),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["task"])
            for batcher in self._batchers:
                gauge.add_metric([batcher.task], number(batcher))
            yield gauge
