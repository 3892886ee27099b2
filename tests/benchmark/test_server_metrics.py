"""Batch sizes are read from what a server exposes, and are absent where it exposes none."""

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from benchmark.measure.processes import free_port
from benchmark.measure.server_metrics import BATCH_SIZE, ServerMetrics

REFUSALS = "gap_refused_total"


def read(registry: CollectorRegistry) -> ServerMetrics:
    return ServerMetrics(generate_latest(registry).decode())


def test_the_mean_batch_size_is_of_the_batches_between_two_pages() -> None:
    registry = CollectorRegistry()
    sizes = Histogram(BATCH_SIZE, "Texts a batch", ["task"], registry=registry)
    sizes.labels("sentiment").observe(60)
    opened = read(registry)
    assert read(registry).mean_batch_size_since(opened) is None
    for task, size in (("sentiment", 4), ("sentiment", 8), ("translation", 3)):
        sizes.labels(task).observe(size)
    assert read(registry).mean_batch_size_since(opened) == pytest.approx(5)


def test_sums_are_over_the_samples_with_the_labels_given() -> None:
    registry = CollectorRegistry()
    refused = Counter(REFUSALS, "Requests", ["task", "cause"], registry=registry)
    for task, cause, count in (("a", "full", 1), ("a", "late", 2), ("b", "full", 4)):
        refused.labels(task, cause).inc(count)
    page = read(registry)
    assert page.total(REFUSALS) == 7
    assert page.sum(REFUSALS, task="a") == 3
    assert page.total_by(REFUSALS, "cause") == {"full": 5, "late": 2}
    assert page.sum(REFUSALS, task="c") is None and page.total("gap_unknown") == 0
    assert page.mean_batch_size_since(page) is None


def test_a_server_that_is_gone_has_no_metrics() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert ServerMetrics.read_or_none(url) is None
    with pytest.raises(httpx.HTTPError):
        ServerMetrics.read(url)
