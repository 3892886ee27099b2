"""The settings of a chaos run: how many requests, the mix of their kinds, and the limits that must hold."""

from dataclasses import dataclass

MAX_BODY_BYTES = 65_536
# Texts that are sent often, so that concurrent requests for the same text are common.
FREQUENT_TEXTS = 8


@dataclass(frozen=True)
class Mix:
    """Shares of requests, and how many texts of each task have a golden answer."""

    valid: float
    beam_search: float
    translation_share: float
    max_batch_size: int
    translations: int
    sentiments: int


# The baseline translates one text at a time, so fewer of its requests are translations.
MIXES = {
    "baseline": Mix(40.0, 0.1, 0.05, 3, 96, 400),
    "optimized": Mix(50.0, 2.0, 0.5, 8, 1_024, 1_024),
    "dynamic_batching": Mix(50.0, 2.0, 0.5, 8, 1_024, 1_024),
}


@dataclass(frozen=True)
class Plan:
    """One server's run.

    Requests are spread over at least `min_duration_s`, so that every fault meets requests in flight, and
    more are sent until every fault has been injected. A phase that exceeds `phase_timeout_s` is cancelled.
    """

    server: str
    requests: int = 10_000
    clients: int = 100
    seed: int = 0
    min_duration_s: float = 80.0
    phase_timeout_s: float = 600.0
    fault_interval_s: float = 0.5
    warmup_share: float = 0.3
    max_redis_outage_s: float = 1.5
    slow_byte_interval_s: float = 1.0
    stall_ms: int = 5_000
    worker_stall_ms: int = 2_000
    timeout_ms: int = 20_000
    receive_timeout_ms: int = 6_000
    drain_timeout_ms: int = 4_000
    max_memory_growth: float = 0.10
    text_share: float = 1.0
    beam_search_texts: int = 16
    requests_at_shutdown: int = 60

    @property
    def mix(self) -> Mix:
        return MIXES[self.server]

    @property
    def text_counts(self) -> dict[str, int]:
        """How many texts of each task have a golden answer."""
        counts = {"translation": self.mix.translations, "sentiment": self.mix.sentiments}
        return {task: max(FREQUENT_TEXTS, round(count * self.text_share)) for task, count in counts.items()}

    @property
    def response_timeout_s(self) -> float:
        """How long a client waits for its response: longer than any deadline of the server."""
        return self.timeout_ms / 1e3 + 15.0

    @property
    def settings(self) -> dict[str, str]:
        """The server's environment variables that differ from its defaults."""
        return {
            "GAP_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
            "GAP_TIMEOUT_MS": str(self.timeout_ms),
            "GAP_RECEIVE_TIMEOUT_MS": str(self.receive_timeout_ms),
            "GAP_DRAIN_TIMEOUT_MS": str(self.drain_timeout_ms),
            "GAP_WORKER_STALL_MS": str(self.worker_stall_ms),
            # Short, so that cached texts expire and are computed again.
            "GAP_CACHE_TTL_S": "2",
        }
