"""The Prometheus metrics of requests; an engine adds its own to the same registry."""

import time
from collections.abc import Iterable
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from .request_context import PHASES, RequestContext
from .sentences import TranslatedSentence

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """What clients asked and how they were answered; `registry` is the app's own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        ProcessCollector(registry=registry)
        self.received = Counter("gap_received", "Requests received", registry=registry)
        start = "From the process's start to ready"
        self.cold_start = Gauge("gap_cold_start_seconds", start, registry=registry)
        labels = ["route", "status"]
        self._answers = Counter("gap_requests", "Answers by route and status", labels, registry=registry)
        histogram = partial(Histogram, buckets=BUCKETS_S, registry=registry)
        duration = "From a request's arrival to the end of its answer"
        self._duration = histogram("gap_request_duration_seconds", duration, ["route"])
        self._phase = histogram("gap_phase_duration_seconds", "Time by phase", ["route", "phase"])
        text = "Translated sentences: stop at the end token, length where the bound on new tokens came first"
        sentences = Counter("gap_sentences", text, ["finish_reason"], registry=registry)
        self._sentences = {reason: sentences.labels(reason) for reason in ("stop", "length")}
        # prometheus_client looks labels up under a lock, at some microseconds each.
        self._children = cache(self._look_up)

    def record(self, route: str, status: int, context: RequestContext) -> None:
        """An answer that ends now."""
        answers, duration, phases = self._children(route, status)
        answers.inc()
        duration.observe(time.perf_counter() - context.arrived_s)
        for name, seconds in context.phases_s.items():
            phases[name].observe(seconds)

    def record_sentences(self, sentences: Iterable[TranslatedSentence]) -> None:
        for sentence in sentences:
            self._sentences[sentence.finish_reason].inc()

    def _look_up(self, route: str, status: int) -> tuple[Counter, Histogram, dict[str, Histogram]]:
        phases = {name: self._phase.labels(route, name) for name in PHASES}
        return self._answers.labels(route, status), self._duration.labels(route), phases
