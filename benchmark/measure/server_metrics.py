"""A server's /metrics page in the Prometheus text format, parsed."""

from collections import Counter

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmark.measure import loopback

BATCH_SIZE = "gap_batch_size"
TIMEOUT_S = 10.0


class ServerMetrics:
    """The samples of one page; counters count from the server's start."""

    def __init__(self, page: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(page) for sample in family.samples
        ]

    @classmethod
    def read(cls, url: str) -> "ServerMetrics":
        """Raises httpx.HTTPError where the server at `url` does not serve the page."""
        answer = loopback.get(f"{url}/metrics", timeout=TIMEOUT_S)
        answer.raise_for_status()
        return cls(answer.text)

    @classmethod
    def read_or_none(cls, url: str) -> "ServerMetrics | None":
        try:
            return cls.read(url)
        except httpx.HTTPError:
            return None

    def sum(self, name: str, **labels: str) -> float | None:
        """The sum of a metric's samples that have these labels; None where there are none."""
        values = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def total(self, name: str, **labels: str) -> int:
        """`sum` of a metric that counts; 0 where there are no samples."""
        return round(self.sum(name, **labels) or 0)

    def total_by(self, name: str, label: str) -> dict[str, int]:
        """A metric's total for each value of `label`."""
        totals: Counter[str] = Counter()
        for sample in self._samples:
            if sample.name == name:
                totals[sample.labels[label]] += round(sample.value)
        return dict(totals)

    def mean_batch_size_since(self, earlier: "ServerMetrics") -> float | None:
        """Texts a batch since `earlier`; None where no batch has run, or the server counts none."""
        batches, texts = (
            self.total(f"{BATCH_SIZE}_{part}") - earlier.total(f"{BATCH_SIZE}_{part}")
            for part in ("count", "sum")
        )
        return texts / batches if batches else None
