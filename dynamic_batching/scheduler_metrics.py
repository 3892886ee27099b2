"""What the schedulers did, as Prometheus metrics.

Requests are counted by the schedulers in plain numbers, which are read when the page is asked for: one page
holds one moment, so its counts add up, and a request pays nothing for them.
"""

from collections import Counter as Counts
from collections.abc import Iterator
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .admission import Admission
from .queue import RequestQueue
from .sequence import Batch, Request, Steps
from .worker_pool import WorkerPool

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (8, 16, 32, 64, 128, 256, 512, 1_024, 2_048)


class Counted(Protocol):
    """What the page shows of a scheduler."""

    task: str
    queue: RequestQueue
    admission: Admission
    admitted: int
    answered: int
    failed: int
    dropped: Counts[str]
    requests: set[Request]
    pool: WorkerPool[Any]

    def running_slots(self) -> int: ...


class SchedulerMetrics(Collector):
    """Histograms of batches; counters and gauges of requests, of which holds at any moment:
    admitted = answered + failed + dropped + pending."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._schedulers: list[Counted] = []
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
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.inference = Histogram(
            "gap_batch_inference_seconds",
            "Time of a run or a step",
            ["task"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.joined, self.left, self.decoded_tokens, self.prefill_tokens, self.prefill = (
            Counter(name, text, ["task"], registry=registry)
            for name, text in (
                ("gap_joined", "Texts that were given a slot"),
                ("gap_left", "Texts that left their slot with an answer"),
                ("gap_decoded_tokens", "Tokens decoded, one a row and step"),
                ("gap_prefill_tokens", "Source tokens encoded for texts that joined"),
                ("gap_prefill_seconds", "Time of encoding between steps and in their background"),
            )
        )
        registry.register(self)

    def watch(self, scheduler: Counted) -> None:
        """From now on the page shows this scheduler's numbers."""
        self._schedulers.append(scheduler)

    def record(self, task: str, report: object) -> None:
        """A Batch that was run, or the Steps since the last record."""
        if isinstance(report, Batch):
            self.size.labels(task).observe(len(report.sequences))
            self.tokens.labels(task).observe(report.tokens)
            self.queue_wait.labels(task).observe(report.queue_wait_s)
            self.inference.labels(task).observe(report.duration_s)
        elif isinstance(report, Steps):
            self._record_steps(task, report)

    def _record_steps(self, task: str, report: Steps) -> None:
        size, inference, queue_wait = (
            histogram.labels(task) for histogram in (self.size, self.inference, self.queue_wait)
        )
        for rows, seconds in zip(report.rows, report.seconds, strict=True):
            size.observe(rows)
            inference.observe(seconds)
        for wait_s in report.waits_s:
            queue_wait.observe(wait_s)
        self.joined.labels(task).inc(report.joined)
        self.left.labels(task).inc(len(report.lengths))
        self.decoded_tokens.labels(task).inc(sum(report.rows))
        self.prefill_tokens.labels(task).inc(report.prefill_tokens)
        self.prefill.labels(task).inc(report.prefill_s + report.background_s)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, text, number in (
            ("gap_admitted", "Requests admitted", lambda of: of.admitted),
            ("gap_answered", "Admitted requests that were answered", lambda of: of.answered),
            ("gap_failed", "Admitted requests that failed", lambda of: of.failed),
            ("gap_workers_lost", "Workers that hung or ended", lambda of: of.pool.lost),
        ):
            counter = CounterMetricFamily(name, text, labels=["task"])
            for scheduler in self._schedulers:
                counter.add_metric([scheduler.task], number(scheduler))
            yield counter
        for name, text, causes in (
            ("gap_refused", "Requests refused at once, by cause", lambda of: of.admission.refused),
            ("gap_dropped", "Admitted requests given up, by cause", lambda of: of.dropped),
        ):
            counter = CounterMetricFamily(name, text, labels=["task", "cause"])
            for scheduler in self._schedulers:
                for cause, count in causes(scheduler).items():
                    counter.add_metric([scheduler.task, cause], count)
            yield counter
        for name, text, number in (
            ("gap_pending", "Admitted requests that wait or run", lambda of: len(of.requests)),
            (
                "gap_occupied_slots",
                "Slots of what workers are at: texts times their beams",
                lambda of: of.running_slots(),
            ),
            ("gap_queue_requests", "Requests that wait", lambda of: of.queue.requests),
            ("gap_queue_tokens", "Tokens that wait", lambda of: of.queue.tokens),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["task"])
            for scheduler in self._schedulers:
                gauge.add_metric([scheduler.task], number(scheduler))
            yield gauge
