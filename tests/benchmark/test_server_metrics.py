"""Batch sizes are read from what a server exposes, and are absent where it exposes none."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from benchmark.measure.processes import free_port
from benchmark.measure.server_metrics import BATCH_SIZE, BatchTotals, batch_totals, read_batch_totals


def test_batch_sizes_are_the_mean_between_two_readings() -> None:
    registry = CollectorRegistry()
    sizes = Histogram(BATCH_SIZE, "Texts a batch", ["task"], registry=registry)

    def read() -> BatchTotals:
        found = batch_totals(generate_latest(registry).decode())
        assert found is not None
        return found

    sizes.labels("sentiment").observe(60)
    opened = read()
    assert read().mean_since(opened) is None
    for task, size in (("sentiment", 4), ("sentiment", 8), ("translation", 3)):
        sizes.labels(task).observe(size)
    assert read().mean_since(opened) == pytest.approx(5)


def test_a_server_without_the_histogram_has_no_batch_size() -> None:
    registry = CollectorRegistry()
    Counter("gap_requests", "Requests", registry=registry).inc()
    assert batch_totals(generate_latest(registry).decode()) is None


def test_a_server_that_is_gone_has_no_batch_size() -> None:
    assert read_batch_totals(f"http://127.0.0.1:{free_port()}") is None
