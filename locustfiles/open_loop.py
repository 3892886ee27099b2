"""Open-loop load: requests come when a Poisson schedule says, whatever the server does.

Latency counts from the scheduled send: a stall is felt by every request that comes meanwhile, where a
closed loop would not have sent them (coordinated omission: Gil Tene, "How NOT to Measure Latency"; wrk2).
`locust -f locustfiles/open_loop.py --headless --rate 20 --measure-s 30 --requests-file requests.csv.xz`
"""

import math
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

# Locust puts this file's own folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locustfiles.answers import problem, request_body
from locustfiles.arrivals import MAX_SEND_LAG_P95_MS, arrivals
from locustfiles.inputs import InputsExhausted, Sample
from locustfiles.options import HEADERS, NETWORK_TIMEOUT_S, Inputs, add_common_arguments, add_seconds
from locustfiles.recorder import REPORT_INTERVAL_S, Recorder

MAX_IN_FLIGHT = 8192
MORE_COLUMNS = ("outcome", "status", "send_lag_ms", "long")


@dataclass(eq=False)
class Arrival:
    """A request of the schedule; times are seconds of time.perf_counter."""

    due_s: float
    samples: list[Sample]
    long: bool = False
    sent_s: float = field(default=math.nan)

    @property
    def lag_ms(self) -> float:
        """By how much the generator itself was late; NaN where it never sent."""
        return (self.sent_s - self.due_s) * 1e3


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    add_common_arguments(parser)
    parser.set_defaults(num_users=1, spawn_rate=1)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second, on average")
    parser.add_argument("--timeout-ms", type=int, default=0, help="sent as X-Timeout-Ms; 0: not sent")
    parser.add_argument("--long-share", type=float, default=0.0, help="of the requests that hold a long text")
    parser.add_argument("--long-texts", type=int, default=10, help="texts joined into a long one")
    parser.add_argument("--only-short", action="store_true", help="leave the long ones out of the schedule")
    add_seconds(parser, "--drain-s", 10.0, "longest wait for the last answers")


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and not options.rate > 0:
        sys.exit(f"error: --rate must be over 0 requests a second, not {options.rate:g}")
    environment.recorder = Recorder(MORE_COLUMNS)  # type: ignore[attr-defined]


@events.quitting.add_listener
def finish(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and options.requests_file:
        environment.recorder.write(Path(options.requests_file))  # type: ignore[attr-defined]


def outcome(status: int, headers: Mapping[str, str], wrong: str | None) -> tuple[str, str | None]:
    """What became of a request, and what is wrong with it where that is not "right".

    A server that says when to come back has refused; one that gave up at the deadline has expired.
    """
    if status == 503 and "retry-after" in headers:
        return "refused", "refused"
    if status == 503:
        return "wrong", "HTTP 503 without Retry-After"
    if status == 504:
        return "expired", "expired"
    return ("right", None) if wrong is None else ("wrong", wrong)


def wait_until(due_s: float) -> None:
    """Returns at `due_s` (time.perf_counter) or later; even where that has passed, the sends run first."""
    while True:
        gevent.sleep(max(0.0, due_s - time.perf_counter()))
        # A timer may fire early: it counts from when the event loop last looked at the clock.
        if time.perf_counter() >= due_s:
            return


class OpenLoopUser(FastHttpUser):
    """Sends the whole schedule, each request on a greenlet of its own, over connections that stay open."""

    fixed_count = 1
    concurrency = MAX_IN_FLIGHT
    network_timeout = NETWORK_TIMEOUT_S
    connection_timeout = NETWORK_TIMEOUT_S

    def on_start(self) -> None:
        self.options = self.environment.parsed_options
        self.recorder: Recorder = self.environment.recorder
        self.inputs = Inputs(self.options)
        self.headers = dict(HEADERS)
        if self.options.timeout_ms:
            self.headers["X-Timeout-Ms"] = str(self.options.timeout_ms)
        self.lengths = random.Random(f"long/{self.options.seed}")
        self.in_flight: set[Arrival] = set()
        self.measured: list[Arrival] = []

    @task
    def offer(self) -> None:
        options = self.options
        pool = Pool(MAX_IN_FLIGHT)
        started_s = time.perf_counter()
        opened_s = self.recorder.window_opened_s = started_s + options.warmup_s
        ends_s = opened_s + options.measure_s if options.measure_s > 0 else math.inf
        watch = gevent.spawn(self.watch, opened_s, ends_s)
        try:
            for after_s in arrivals(options.rate, options.seed):
                arrival = self.arrival(started_s + after_s)
                if arrival.long and options.only_short:
                    continue
                wait_until(min(arrival.due_s, ends_s))
                if arrival.due_s >= ends_s:
                    break
                if arrival.due_s >= opened_s:
                    self.measured.append(arrival)
                self.in_flight.add(arrival)
                pool.spawn(self.send, arrival)
            pool.join(timeout=options.drain_s)
            self.end(pool)
        except InputsExhausted as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        finally:
            watch.kill()
            pool.kill()
        gevent.spawn(self.environment.runner.quit)
        raise StopUser

    def arrival(self, due_s: float) -> Arrival:
        """The next request of the schedule: a seed gives the same ones at every `--only-short`."""
        options = self.options
        if self.lengths.random() >= options.long_share:
            return Arrival(due_s, self.inputs.draw())
        texts = [sample.text for _ in range(options.long_texts) for sample in self.inputs.draw()]
        return Arrival(due_s, [Sample(" ".join(texts))], long=True)

    def send(self, arrival: Arrival) -> None:
        options, inputs = self.options, self.inputs
        body = request_body(arrival.samples, inputs.batch)
        arrival.sent_s = time.perf_counter()
        with self.client.post(inputs.route, data=body, headers=self.headers, catch_response=True) as response:
            wrong = problem(
                options.task,
                response.status_code,
                response.content or b"",
                arrival.samples,
                batch=inputs.batch,
                check_labels=options.check_labels,
            )
            headers = response.headers or {}
            became, error = outcome(response.status_code, headers, wrong)
            latency_ms = (time.perf_counter() - arrival.due_s) * 1e3
            # Locust's own table: what was refused or expired has a row of its own, and is no failure.
            response.request_meta["response_time"] = latency_ms
            if became == "wrong":
                response.failure(error)
            elif became != "right":
                response.request_meta["name"] = f"{inputs.route} ({became})"
                response.success()
            self.keep(arrival, latency_ms, became, error, response.status_code, headers)
        self.in_flight.discard(arrival)

    def keep(
        self,
        arrival: Arrival,
        latency_ms: float,
        became: str,
        error: str | None,
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        self.recorder.add(
            user=0,
            start_s=arrival.due_s,
            latency_ms=latency_ms,
            texts=len(arrival.samples),
            error=error,
            server_timing=headers.get("server-timing") or "",
            cache=headers.get("x-cache") or "",
            more=(became, status, f"{arrival.lag_ms:.4f}", arrival.long),
        )

    def watch(self, opened_s: float, ends_s: float) -> None:
        """Reports the phase and the live figures until killed."""
        opened = False
        while True:
            now_s = time.perf_counter()
            if not opened and now_s >= opened_s:
                opened = True
                self.recorder.report("window", now_s, {"in_flight": len(self.in_flight)})
            else:
                phase = "warm-up" if now_s < opened_s else "measure" if now_s < ends_s else "drain"
                self.recorder.report(phase, now_s, {"in_flight": len(self.in_flight)})
            gevent.sleep(REPORT_INTERVAL_S if opened else min(REPORT_INTERVAL_S, max(0, opened_s - now_s)))

    def end(self, pool: Pool) -> None:
        """Keeps what was never answered, and says whether the generator kept its schedule."""
        pool.kill()
        now_s = time.perf_counter()
        for arrival in self.in_flight:
            self.keep(arrival, (now_s - arrival.due_s) * 1e3, "unanswered", "unanswered", 0, {})
        lags_ms = sorted(arrival.lag_ms for arrival in self.measured if not math.isnan(arrival.lag_ms))
        lag_ms = lags_ms[int(0.95 * len(lags_ms))] if lags_ms else 0.0
        behind = lag_ms > MAX_SEND_LAG_P95_MS
        if behind:
            print(
                f"the load generator fell behind: 5 % of requests left over {lag_ms:.0f} ms after their "
                f"time (limit {MAX_SEND_LAG_P95_MS:g} ms), and the latencies hold that",
                file=sys.stderr,
                flush=True,
            )
        self.recorder.report("end", now_s, {"send_lag_p95_ms": lag_ms, "behind": behind})
        self.environment.process_exit_code = 0
