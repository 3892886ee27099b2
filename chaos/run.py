"""One server's chaos run: warm up, inject every fault, check the idle server, shut it down under load."""

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from benchmark.measure import loopback
from benchmark.measure.process_sampler import ProcessUsage
from benchmark.measure.processes import Server, free_port
from benchmark.measure.redis_server import clear_cache, running_redis
from benchmark.measure.server_metrics import ServerMetrics
from chaos import assertions
from chaos.assertions import Violation, in_flight
from chaos.clients import Client, Outcome
from chaos.faults import FaultInjector
from chaos.golden_answers import GoldenAnswers, read_golden_answers
from chaos.plan import Plan
from chaos.request_generator import RequestGenerator
from chaos.requests import Request
from dynamic_batching.web.cpus import allowed_cpus

READY_TIMEOUT_S = 120.0
MAX_BATCH_SIZE, LARGE_BATCHES, INCOMPLETE_BODIES = 64, 2, 3
NEVER_COMPLETE = 1_000
IDLE_TIMEOUT_S = 30.0
IDLE_POLL_S = 0.1
# uvicorn grants requests 5 s; a stalled engine run can hold a thread that much longer.
SHUTDOWN_LIMIT_S = 8.0
LOGGED_ERROR = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


@dataclass
class Run:
    """One server's run; `violations` are the assertions that did not hold."""

    plan: Plan
    server: Server
    golden: GoldenAnswers
    injector: FaultInjector
    print_line: Callable[[str], None]
    outcomes: list[Outcome] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generator = RequestGenerator(self.golden, self.plan.mix, self.plan.seed)
        self.clients = [Client(self.server.url, self.plan) for _ in range(self.plan.clients)]

    async def execute(self) -> None:
        start_s = time.perf_counter()
        before = await self._read_metrics()
        warmup = round(self.plan.requests * self.plan.warmup_share)
        await self._send_under_faults(warmup, until_all_injected=False)
        warm = self._read_usage()
        await self._send_under_faults(self.plan.requests - warmup, until_all_injected=True)
        await self._check_idle_server(before, warm)
        await self._shut_down_under_load()
        self.figures["duration_s"] = round(time.perf_counter() - start_s, 1)
        self.figures["faults"] = dict(sorted(self.injector.injected.items()))
        self._add("fault not injected", self.injector.missing)
        self._check_outcomes()

    def _add(self, assertion: str, errors: Iterable[str]) -> None:
        self.violations += [Violation(assertion, error) for error in errors]

    async def _read_metrics(self) -> ServerMetrics:
        return await asyncio.to_thread(ServerMetrics.read, self.server.url)

    def _read_usage(self) -> ProcessUsage:
        return ProcessUsage.of(psutil.Process(self.server.pid))

    async def _send_under_faults(self, count: int, until_all_injected: bool) -> None:
        """Sends at least `count` requests while faults are injected, then waits until the server is idle."""
        injecting = asyncio.create_task(self.injector.run())

        def unfinished() -> bool:
            return until_all_injected and bool(self.injector.missing) and not injecting.done()

        schedule = self._schedule(count, unfinished)
        try:
            async with asyncio.timeout(self.plan.phase_timeout_s):
                await asyncio.gather(*(client.run(schedule, self._record) for client in self.clients))
        except TimeoutError:
            self._add("phase timeout", [f"requests in flight after {self.plan.phase_timeout_s:g} s"])
        injecting.cancel()
        (error,) = await asyncio.gather(injecting, return_exceptions=True)
        if not isinstance(error, asyncio.CancelledError):
            self._add("fault not injected", [repr(error)])
        self.injector.recover()
        await self._wait_idle()

    def _schedule(self, count: int, unfinished: Callable[[], bool]) -> Iterator[tuple[float, Request]]:
        start_s, interval_s = time.perf_counter(), self.plan.min_duration_s / self.plan.requests
        for number, request in enumerate(self.generator.draw()):
            if number >= count and not unfinished():
                return
            yield start_s + interval_s * number, request

    def _record(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        count, planned, faults = len(self.outcomes), self.plan.requests, self.injector.injected.total()
        if count % max(1, planned // 10) == 0:
            self.print_line(f"{count} of {planned} requests, {faults} faults")

    async def _wait_idle(self) -> None:
        """Waits until no request is in flight and the server is ready, which a stalled worker is not."""
        end_s = time.perf_counter() + IDLE_TIMEOUT_S
        while time.perf_counter() < end_s:
            ready = await asyncio.to_thread(loopback.get, f"{self.server.url}/ready", timeout=10.0)
            metrics = await self._read_metrics()
            pending = in_flight(metrics) + metrics.total("gap_pending")
            # A run whose requests have all been dropped holds its slots until it ends.
            occupied = metrics.total("gap_occupied_slots")
            if not pending and not occupied and ready.status_code == 200:
                return
            await asyncio.sleep(IDLE_POLL_S)
        state = f"{pending} requests in flight, {occupied} slots occupied, /ready answers {ready.text}"
        self._add("not idle", [state])

    async def _check_idle_server(self, before: ServerMetrics, warm: ProcessUsage) -> None:
        """Checks counters and leaks, and that valid requests are answered after all faults."""
        idle, metrics = self._read_usage(), await self._read_metrics()
        self.figures |= {
            "dropped": metrics.total_by("gap_dropped_total", "cause"),
            "refused": metrics.total_by("gap_refused_total", "cause"),
            "warm": asdict(warm),
            "idle": asdict(idle),
        }
        self._add("inconsistent counters", assertions.check_counters(metrics))
        self._add(
            "inconsistent counters",
            assertions.check_counters_against_clients(before, metrics, self.outcomes),
        )
        self._add("leak", assertions.check_leaks(warm, idle, self.plan.max_memory_growth))
        for _ in range(self.plan.requests_at_shutdown):
            request = self.generator.valid(kind="after faults", statuses=frozenset({200}))
            self.outcomes.append(await self.clients[0].send(request))
        self.clients[0].close()

    async def _shut_down_under_load(self) -> None:
        """SIGTERM with requests in flight: each must be answered, and the process end in time.

        There is more work than can be completed in time, and some bodies are never complete.
        """
        generator, refused = self.generator, frozenset({503})
        requests = [generator.valid() for _ in range(self.plan.requests_at_shutdown)]
        requests += [generator.large_batch(MAX_BATCH_SIZE) for _ in range(LARGE_BATCHES)]
        requests += [generator.slow(0.1, NEVER_COMPLETE, refused) for _ in range(INCOMPLETE_BODIES)]
        received = (await self._read_metrics()).total("gap_received_total")
        sending = [
            asyncio.create_task(client.send(replace(request, kind="during shutdown")))
            for client, request in zip(self.clients, requests, strict=False)
        ]
        while True:
            metrics = await self._read_metrics()
            if metrics.total("gap_received_total") - received > len(sending):
                break
        self.figures["in_flight_at_shutdown"] = in_flight(metrics)
        stopping = asyncio.create_task(asyncio.to_thread(self._stop_server))
        self.outcomes += await asyncio.gather(*sending)
        shutdown_s = await stopping
        for client in self.clients:
            client.close()
        self.figures["shutdown_s"] = round(shutdown_s, 2)
        exit_code = self.server.process.returncode
        if exit_code != 0 or shutdown_s > SHUTDOWN_LIMIT_S:
            self._add("shutdown", [f"exit code {exit_code} after {shutdown_s:.1f} s"])

    def _stop_server(self) -> float:
        """Sends SIGTERM; the seconds until the server has ended."""
        start_s = time.perf_counter()
        self.server.stop()
        return time.perf_counter() - start_s

    def _check_outcomes(self) -> None:
        """Checks every response, and the server's log for errors that were not injected."""
        overlaps = self.injector.overlaps
        for outcome in self.outcomes:
            if violation := assertions.check_outcome(outcome, overlaps):
                self._add(violation.assertion, [f"{outcome.request}: {violation.detail}"])
        self._add("too few answers", assertions.check_answered_share(self.outcomes, overlaps))
        log = self.server.log_path.read_text(errors="replace")
        errors = {line for line in LOGGED_ERROR.findall(log) if "Injected" not in line}
        self._add("unexpected error in log", sorted(errors))


def run(plan: Plan, models: Path, log_path: Path, print_line: Callable[[str], None]) -> Run:
    """Executes `plan` against a server that it starts.

    Raises:
        ProcessFailed: the server or its Redis does not start.
        httpx.HTTPError: the server does not answer before the first fault.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inference-gap-chaos-")))
        redis = stack.enter_context(running_redis()) if plan.server == "optimized" else None
        injector = FaultInjector(folder, plan, redis)
        settings = {"GAP_MODELS_DIR": str(models), "GAP_FAULTS": str(folder), **plan.settings}
        if redis is not None:
            settings["REDIS_URL"] = redis.url
        server = Server(plan.server, free_port(), tuple(allowed_cpus()), log_path, settings)
        stack.callback(server.stop)
        server.wait_ready(READY_TIMEOUT_S)
        print_line("reading the golden answers")
        golden = read_golden_answers(server.url, plan.text_counts, plan.beam_search_texts, plan.seed)
        if redis is not None:
            clear_cache(redis.url)
        chaos = Run(plan, server, golden, injector, print_line)
        asyncio.run(chaos.execute())
        return chaos
