"""What a server says of itself at /metrics, in the Prometheus text format."""

from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmark.measure import loopback

BATCH_SIZE = "gap_batch_size"
TIMEOUT_S = 5.0


@dataclass(frozen=True)
class BatchTotals:
    """The batches that a server has run since its start, and the texts in them."""

    batches: float
    texts: float

    def mean_since(self, earlier: "BatchTotals") -> float | None:
        """Texts a batch of those run since `earlier`; None where there were none."""
        batches = self.batches - earlier.batches
        return (self.texts - earlier.texts) / batches if batches > 0 else None


def read_batch_totals(url: str) -> BatchTotals | None:
    """The totals of the histogram BATCH_SIZE over all its labels; None where the server has or tells none."""
    try:
        page = loopback.get(f"{url}/metrics", timeout=TIMEOUT_S)
        page.raise_for_status()
        return batch_totals(page.text)
    except httpx.HTTPError:
        return None


def batch_totals(page: str) -> BatchTotals | None:
    """The totals that a page of metrics holds; None where it has no such histogram."""
    samples = [
        sample
        for family in text_string_to_metric_families(page)
        if family.name == BATCH_SIZE
        for sample in family.samples
    ]
    if not samples:
        return None
    batches, texts = (
        sum(sample.value for sample in samples if sample.name == f"{BATCH_SIZE}_{part}")
        for part in ("count", "sum")
    )
    return BatchTotals(batches, texts)


def read_sum(url: str, name: str, **labels: str) -> float | None:
    """The sum of all samples called `name` that have these labels; None where the server tells none.

    Raises:
        httpx.HTTPError: the page could not be read.
    """
    page = loopback.get(f"{url}/metrics", timeout=TIMEOUT_S)
    page.raise_for_status()
    found = [
        sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found) if found else None
