"""How much is sent to each server, in which mix, and the bounds that it must keep."""

from dataclasses import dataclass

from chaos.asks import MAX_BODY_BYTES, OFTEN_ASKED, Mix

SERVERS = ("baseline", "optimized", "dynamic_batching")
ODD = {
    "short deadline": 8.0,
    "hangs up": 12.0,
    "half closed": 2.0,
    "slow": 0.6,
    "malformed": 10.0,
    "broken HTTP": 3.0,
    "too large": 3.0,
    "bad item": 5.0,
    "poisoned": 1.5,
    "no such route": 2.0,
}
# The baseline translates one text after the other: of its requests fewer are translations.
MIXES = {
    "baseline": Mix({"valid": 40.0, "beams": 0.1, **ODD}, translated=0.05, largest_batch=3),
    "optimized": Mix({"valid": 50.0, "beams": 2.0, **ODD}, translated=0.5, largest_batch=8),
    "dynamic_batching": Mix({"valid": 50.0, "beams": 2.0, **ODD}, translated=0.5, largest_batch=8),
}
TEXTS = {
    "baseline": {"translation": 96, "sentiment": 400},
    "optimized": {"translation": 1_024, "sentiment": 1_024},
    "dynamic_batching": {"translation": 1_024, "sentiment": 1_024},
}


@dataclass(frozen=True)
class Plan:
    """One server's run.

    Requests are sent over at least `least_s`, so that faults find some under way, and more of them are until
    every fault has struck. A phase that takes longer than `longest_s` is cut off.
    """

    server: str
    requests: int = 10_000
    clients: int = 100
    seed: int = 0
    least_s: float = 80.0
    longest_s: float = 600.0
    pause_s: float = 0.5
    warmup_share: float = 0.3
    longest_down_s: float = 1.5
    slow_byte_s: float = 1.0
    stall_ms: int = 5_000
    worker_stall_ms: int = 2_000
    timeout_ms: int = 20_000
    receive_timeout_ms: int = 6_000
    drain_timeout_ms: int = 4_000
    largest_growth: float = 0.10
    texts_share: float = 1.0
    beam_texts: int = 16
    in_flight: int = 60

    @property
    def mix(self) -> Mix:
        return MIXES[self.server]

    def texts(self) -> dict[str, int]:
        """How many texts of each task have a known answer."""
        return {
            task: max(OFTEN_ASKED, round(count * self.texts_share))
            for task, count in TEXTS[self.server].items()
        }

    def settings(self) -> dict[str, str]:
        """The server's own, on top of its defaults."""
        settings = {
            "GAP_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
            "GAP_TIMEOUT_MS": str(self.timeout_ms),
            "GAP_RECEIVE_TIMEOUT_MS": str(self.receive_timeout_ms),
            "GAP_DRAIN_TIMEOUT_MS": str(self.drain_timeout_ms),
        }
        if self.server == "optimized":
            # Short, so that texts are computed again and again.
            settings["GAP_CACHE_TTL_S"] = "2"
        if self.server == "dynamic_batching":
            settings["GAP_WORKER_STALL_MS"] = str(self.worker_stall_ms)
        return settings

    @property
    def patience_s(self) -> float:
        """How long a client waits for its answer: longer than any deadline of the server's."""
        return self.timeout_ms / 1e3 + 15.0


# For `make test`: every kind of request and of fault, in seconds.
SHORT = {
    "requests": 160,
    "clients": 30,
    "least_s": 1.0,
    "longest_s": 60.0,
    "pause_s": 0.02,
    "longest_down_s": 0.4,
    "slow_byte_s": 0.2,
    "stall_ms": 1_000,
    "worker_stall_ms": 500,
    "receive_timeout_ms": 2_500,
    "drain_timeout_ms": 1_000,
    "texts_share": 0.02,
    "beam_texts": 3,
    "in_flight": 10,
    # Too short to tell growth from warming up.
    "largest_growth": 1.0,
}
