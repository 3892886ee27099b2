"""A request's clock (deadline and phases), the Server-Timing header, and the Prometheus metrics."""

import time

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import InvalidInput

PHASES = ("tokenize", "queue", "inference")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
LONGEST_TIMEOUT_MS = 86_400_000


class RequestClock:
    """When a request arrived, by when it must be answered, and what its time went into."""

    def __init__(self) -> None:
        self.arrived_s = time.perf_counter()
        self.deadline_s = float("inf")
        self.phases_s: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        """Adds to the phase `name`, one of PHASES."""
        self.phases_s[name] = self.phases_s.get(name, 0.0) + seconds

    def server_timing(self) -> str:
        """The Server-Timing header's value (W3C Server Timing), durations in ms."""
        return ", ".join(f"{name};dur={self.phases_s.get(name, 0.0) * 1e3:.2f}" for name in PHASES)


async def request_clock(request: Request) -> RequestClock:
    """The request's clock, its deadline set: the server's own, or the client's where that is sooner."""
    clock: RequestClock = request.scope["clock"]
    set_deadline(clock, request.headers.get("x-timeout-ms"), request.app.state.settings.timeout_ms)
    return clock


def set_deadline(clock: RequestClock, asked: str | None, timeout_ms: float) -> None:
    """`timeout_ms` after the arrival, or sooner if `asked` for; InvalidInput where that is no time in ms."""
    if asked is not None:
        if not (asked.isascii() and asked.isdigit() and 0 < int(asked[:12]) <= LONGEST_TIMEOUT_MS):
            raise InvalidInput(
                (["header", "x-timeout-ms"], f"Should be a whole number from 1 to {LONGEST_TIMEOUT_MS}")
            )
        timeout_ms = min(timeout_ms, int(asked))
    clock.deadline_s = clock.arrived_s + timeout_ms / 1e3


class Metrics:
    """The server's counters, in a registry of their own so that two apps can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.received = Counter("gap_received", "Requests received", registry=self.registry)
        self.requests = Counter(
            "gap_requests", "Answers by route and status", ["route", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "gap_request_duration_seconds",
            "From a request's arrival to the end of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.phase = Histogram(
            "gap_phase_duration_seconds",
            "Time of a request by phase",
            ["route", "phase"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.cold_start = Gauge(
            "gap_cold_start_seconds", "From the process's start to ready", registry=self.registry
        )
        self._of: dict[tuple[str, int], tuple[Counter, Histogram, dict[str, Histogram]]] = {}

    def of(self, route: str, status: int) -> tuple[Counter, Histogram, dict[str, Histogram]]:
        """The counter of such answers, and the histograms of the route and of its phases."""
        found = self._of.get((route, status))
        if found is None:
            phases = {name: self.phase.labels(route, name) for name in PHASES}
            found = self.requests.labels(route, status), self.duration.labels(route), phases
            self._of[route, status] = found
        return found

    def record(self, route: str, status: int, clock: RequestClock) -> None:
        """An answer that ends now."""
        requests, duration, phases = self.of(route, status)
        requests.inc()
        duration.observe(time.perf_counter() - clock.arrived_s)
        for name, seconds in clock.phases_s.items():
            phases[name].observe(seconds)


class Telemetry:
    """ASGI middleware: gives each request its clock, and records the answer it got."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        clock = scope["clock"] = RequestClock()
        self.metrics.received.inc()
        status = 500

        async def send_timed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if clock.phases_s:
                    MutableHeaders(scope=message)["Server-Timing"] = clock.server_timing()
            await send(message)

        try:
            await self.app(scope, receive, send_timed)
        finally:
            self.metrics.record(getattr(scope.get("route"), "path", "unknown"), status, clock)
