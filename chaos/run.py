"""One server's run: learn, warm up, go wrong in every way, come to rest, look, and stop it amid requests."""

import asyncio
import contextlib
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.measure import loopback
from benchmark.measure.processes import Server, free_port
from benchmark.measure.redis_server import clear_cache, running_redis
from chaos.asks import Ask, Asks
from chaos.clients import Client, Outcome
from chaos.counters import Counts, contradictions, disagreements
from chaos.faults import Faults
from chaos.plan import Plan
from chaos.resources import Resources, leaks
from chaos.texts import Known, learn
from chaos.verdicts import breach, unanswered
from dynamic_batching.web.cpus import allowed_cpus

READY_TIMEOUT_S = 120.0
LARGEST_BATCH, LARGE_BATCHES, SLOW_SENDERS = 64, 2, 3
REST_TIMEOUT_S = 30.0
REST_POLL_S = 0.1
# uvicorn grants requests 5 s; a run that hangs may hold a thread that much longer.
STOP_BOUND_S = 8.0
STOPPED = 0
UNFORESEEN = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


@dataclass
class Result:
    """What a run found; `breaches` are pairs of a kind and what was seen."""

    plan: Plan
    outcomes: list[Outcome] = field(default_factory=list)
    breaches: list[tuple[str, str]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    warm: Resources | None = None
    rested: Resources | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    stopped_at: int = 0
    stop_s: float = 0.0
    duration_s: float = 0.0

    def add(self, kind: str, found: list[str]) -> None:
        self.breaches += [(kind, what) for what in found]


def run(plan: Plan, models: Path, log_path: Path, say: Callable[[str], None]) -> Result:
    """Runs `plan` against a server of its own.

    Raises:
        ProcessFailed: the server or its Redis does not start.
        httpx.HTTPError: the server does not answer while all is quiet.
    """
    cores = tuple(allowed_cpus())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inference-gap-chaos-")))
        cache = stack.enter_context(running_redis()) if plan.server == "optimized" else None
        faults = Faults(folder, plan.stall_ms, plan.longest_down_s, cache, plan.seed)
        settings = {"GAP_MODELS_DIR": str(models), "GAP_FAULTS": str(folder), **plan.settings()}
        if cache is not None:
            settings["REDIS_URL"] = cache.url
        port = free_port()
        server = Server(plan.server, port, cores, log_path, settings)
        stack.callback(server.stop)
        server.wait_ready(READY_TIMEOUT_S)
        say("the quiet server is asked for the right answers")
        known = learn(server.url, plan.texts(), plan.beam_texts, plan.seed)
        if cache is not None:
            clear_cache(cache.url)
        return asyncio.run(Run(plan, server, port, known, faults, say).go())


class Run:
    def __init__(
        self,
        plan: Plan,
        server: Server,
        port: int,
        known: Known,
        faults: Faults,
        say: Callable[[str], None],
    ) -> None:
        self.plan = plan
        self.server = server
        self.known = known
        self.faults = faults
        self.say = say
        self.result = Result(plan)
        self.asks = Asks(known, plan.mix, plan.seed)
        self.clients = [Client(port, plan.patience_s, plan.slow_byte_s) for _ in range(plan.clients)]

    async def go(self) -> Result:
        plan, result = self.plan, self.result
        started_s = time.perf_counter()
        self.before = await asyncio.to_thread(Counts.read, self.server.url)
        warmup = round(plan.requests * plan.warmup_share)
        await self._phase(warmup)
        result.warm = Resources.of(self.server.pid)
        await self._phase(plan.requests - warmup, every_fault=True)
        await self._look()
        await self._stop()
        result.duration_s = time.perf_counter() - started_s
        result.faults = self.faults.struck
        result.add("fault never struck", self.faults.missing)
        self._judge()
        return result

    async def _phase(self, count: int, every_fault: bool = False) -> None:
        """Sends `count` requests while faults strike, then waits until the server is at rest.

        With `every_fault`, more are sent until none is missing.
        """
        striking = asyncio.create_task(self.faults.run(self.plan.pause_s))
        source = self._source(count, lambda: every_fault and self.faults.missing and not striking.done())
        running = [asyncio.create_task(client.run(source, self._note)) for client in self.clients]
        done, late = await asyncio.wait(running, timeout=self.plan.longest_s)
        for task in (*late, striking):
            task.cancel()
        await asyncio.wait([*late, striking])
        self.faults.mend()
        if not striking.cancelled():
            striking.result()
        if late:
            self.result.add(
                "too slow", [f"{len(late)} clients were not done after {self.plan.longest_s:g} s"]
            )
        for task in done:
            task.result()
        for client in self.clients:
            client.close()
        await self._rest()

    def _source(self, count: int, goes_on: Callable[[], object]) -> Iterator[tuple[float, Ask]]:
        start_s, each_s = time.perf_counter(), self.plan.least_s / self.plan.requests
        for number, ask in enumerate(self.asks.draw()):
            if number >= count and not goes_on():
                return
            yield start_s + each_s * number, ask

    def _note(self, outcome: Outcome) -> None:
        outcomes = self.result.outcomes
        outcomes.append(outcome)
        if len(outcomes) % max(1, self.plan.requests // 10) == 0:
            struck = self.faults.struck.total()
            self.say(f"{len(outcomes)} of {self.plan.requests} requests sent, {struck} faults struck")

    async def _rest(self) -> None:
        """Waits until nothing is under way, in a bounded time."""
        ends_s = time.perf_counter() + REST_TIMEOUT_S
        while time.perf_counter() < ends_s:
            counts = await asyncio.to_thread(Counts.read, self.server.url)
            if not counts.unfinished() and not counts.total("gap_pending"):
                return
            await asyncio.sleep(REST_POLL_S)
        self.result.add("not at rest", [f"requests are under way {REST_TIMEOUT_S:g} s after the last one"])

    async def _look(self) -> None:
        """All that is to be seen of a server at rest: counts, leaks, and whether it answers as before."""
        result, url = self.result, self.server.url
        result.rested = Resources.of(self.server.pid)
        counts = await asyncio.to_thread(Counts.read, url)
        result.dropped, result.refused = (
            counts.causes("gap_dropped_total"),
            counts.causes("gap_refused_total"),
        )
        result.add("counts do not add up", contradictions(counts))
        result.add("counts do not add up", disagreements(self.before, counts, result.outcomes))
        assert result.warm is not None
        result.add("leak", leaks(result.warm, result.rested, self.plan.largest_growth))
        ready = await asyncio.to_thread(loopback.get, f"{url}/ready", timeout=10.0)
        if ready.status_code != 200:
            result.add("not ready after all faults", [ready.text])
        for _ in range(self.plan.in_flight):
            outcome = await self.clients[0].perform(
                self.asks.valid("after all faults", statuses=frozenset({200}))
            )
            result.outcomes.append(outcome)
        self.clients[0].close()

    async def _stop(self) -> None:
        """SIGTERM with requests under way: each is answered, and the process ends in its bound."""
        before = (await asyncio.to_thread(Counts.read, self.server.url)).total("gap_received_total")
        asks = self._asks_at_stop()
        asked = [
            asyncio.create_task(client.perform(ask)) for client, ask in zip(self.clients, asks, strict=False)
        ]
        while True:
            counts = await asyncio.to_thread(Counts.read, self.server.url)
            if counts.total("gap_received_total") - before > len(asked):
                break
        self.result.stopped_at = counts.unfinished()
        ending = asyncio.create_task(self._ending())
        self.result.outcomes += await asyncio.gather(*asked)
        for client in self.clients:
            client.close()
        code = await ending
        if code != STOPPED or self.result.stop_s > STOP_BOUND_S:
            self.result.add("bad stop", [f"it ended with {code} after {self.result.stop_s:.1f} s"])

    async def _ending(self) -> int | None:
        """Stops the server; its exit code, None if it goes on for too long."""
        stopped_s = time.perf_counter()
        self.server.process.send_signal(signal.SIGTERM)
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = await asyncio.to_thread(self.server.process.wait, STOP_BOUND_S + 5)
        self.result.stop_s = time.perf_counter() - stopped_s
        return code

    def _asks_at_stop(self) -> list[Ask]:
        """Plain requests, more work than can be done in time, and bodies that never get whole."""
        name = "at the stop"
        asks = [self.asks.valid(name) for _ in range(self.plan.in_flight)]
        asks += [self.asks.large_batch(name, LARGEST_BATCH) for _ in range(LARGE_BATCHES)]
        return asks + [self.asks.endless(name) for _ in range(SLOW_SENDERS)]

    def _judge(self) -> None:
        result, excuse = self.result, self.faults.excuse
        for outcome in result.outcomes:
            if found := breach(outcome, self.known, excuse):
                kind, what = found
                ask = outcome.ask
                result.add(kind, [f"{ask.kind}, {ask.manner}, {ask.method} {ask.route}: {what}"])
        if few := unanswered(result.outcomes, excuse):
            result.add("too few answers", [few])
        log = self.server.log_path.read_text(errors="replace")
        unforeseen = {line for line in UNFORESEEN.findall(log) if "Injected" not in line}
        result.add("unforeseen error in the log", sorted(unforeseen))
