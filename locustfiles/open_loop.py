"""Open-loop load: requests are sent on a Poisson schedule, whatever the server does.

Latency counts from the scheduled send: a stall delays every request due meanwhile, which a closed loop
would not have sent (coordinated omission: Gil Tene, "How NOT to Measure Latency"; wrk2).
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
from locust import events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

# Locust puts this file's own folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locustfiles.arrivals import MAX_SEND_LAG_P95_MS, arrivals
from locustfiles.inputs import InputsExhausted, Sample, one_sentence
from locustfiles.load_user import HEADERS, LoadUser, add_common_arguments, add_hidden
from locustfiles.recorder import REPORT_INTERVAL_S, Recorder

MAX_IN_FLIGHT = 8192
MORE_COLUMNS = ("outcome", "status", "send_lag_ms", "long")


@dataclass(eq=False)
class Arrival:
    """A request of the schedule, and its outcome; times are seconds of time.perf_counter."""

    due_s: float
    samples: list[Sample]
    long: bool = False
    sent_s: float = math.nan
    outcome: str = "unanswered"
    error: str | None = "unanswered"
    status: int = 0
    headers: Any = field(default_factory=dict)

    @property
    def lag_ms(self) -> float:
        """How late the generator sent it; NaN where it never did."""
        return (self.sent_s - self.due_s) * 1e3


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    add_common_arguments(parser)
    parser.set_defaults(num_users=1, spawn_rate=1)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second, on average")
    parser.add_argument("--timeout-ms", type=int, default=0, help="sent as X-Timeout-Ms; 0: not sent")
    parser.add_argument("--long-share", type=float, default=0.0, help="share of requests with a long text")
    parser.add_argument("--long-texts", type=int, default=10, help="texts joined into a long sentence")
    parser.add_argument("--only-short", action="store_true", help="leave the long ones out of the schedule")
    add_hidden(parser, "--drain-s", 10.0, "longest wait for the last answers")


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and not options.rate > 0:
        sys.exit(f"error: --rate must be over 0 requests a second, not {options.rate:g}")
    environment.recorder = Recorder(MORE_COLUMNS)  # type: ignore[attr-defined]


def outcome(status: int, headers: Mapping[str, str], wrong: str | None) -> tuple[str, str | None]:
    """The outcome of a request by its status, and its error unless that is "right".

    503 with Retry-After is a refusal, 504 an expired deadline.
    """
    if status == 503 and "retry-after" in headers:
        return "refused", "refused"
    if status == 503:
        return "wrong", "HTTP 503 without Retry-After"
    if status == 504:
        return "expired", "expired"
    return ("right", None) if wrong is None else ("wrong", wrong)


def wait_until(due_s: float) -> None:
    """Returns at `due_s` (time.perf_counter) or later; pending sends run first even where it has passed."""
    while True:
        gevent.sleep(max(0.0, due_s - time.perf_counter()))
        # A timer may fire early: it counts from when the event loop last looked at the clock.
        if time.perf_counter() >= due_s:
            return


class OpenLoopUser(LoadUser):
    """Sends the whole schedule, each request on a greenlet of its own, over connections that stay open."""

    fixed_count = 1
    concurrency = MAX_IN_FLIGHT

    def on_start(self) -> None:
        self.recorder: Recorder = self.environment.recorder
        self.headers = dict(HEADERS)
        if self.options.timeout_ms:
            self.headers["X-Timeout-Ms"] = str(self.options.timeout_ms)
        self.lengths = random.Random(f"long/{self.options.seed}")
        self.in_flight: set[Arrival] = set()
        self.measured: list[Arrival] = []

    @task
    def send_schedule(self) -> None:
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
        """The next request of the schedule, the same with and without `--only-short`."""
        options = self.options
        if self.lengths.random() >= options.long_share:
            return Arrival(due_s, self.draw())
        texts = [sample.text for _ in range(options.long_texts) for sample in self.draw()]
        return Arrival(due_s, [Sample(one_sentence(texts))], long=True)

    def send(self, arrival: Arrival) -> None:
        arrival.sent_s = time.perf_counter()
        with self.post(arrival.samples, self.headers) as (response, wrong):
            arrival.status, arrival.headers = response.status_code, response.headers or {}
            arrival.outcome, arrival.error = outcome(arrival.status, arrival.headers, wrong)
            # Locust's own table: refused and expired requests have a row of their own, and are no failures.
            response.request_meta["response_time"] = self.record(arrival)
            if arrival.outcome == "wrong":
                response.failure(arrival.error)
            elif arrival.outcome != "right":
                response.request_meta["name"] = f"{self.route} ({arrival.outcome})"
                response.success()
        self.in_flight.discard(arrival)

    def record(self, arrival: Arrival) -> float:
        """Keeps the request with its latency up to now, in ms."""
        latency_ms = (time.perf_counter() - arrival.due_s) * 1e3
        more = (arrival.outcome, arrival.status, f"{arrival.lag_ms:.4f}", arrival.long)
        count = len(arrival.samples)
        self.recorder.add(0, arrival.due_s, latency_ms, count, arrival.error, arrival.headers, more)
        return latency_ms

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
        """Records the unanswered requests, and reports whether the generator kept its schedule."""
        pool.kill()
        for arrival in self.in_flight:
            self.record(arrival)
        lags_ms = sorted(arrival.lag_ms for arrival in self.measured if not math.isnan(arrival.lag_ms))
        lag_ms = lags_ms[int(0.95 * len(lags_ms))] if lags_ms else 0.0
        behind = lag_ms > MAX_SEND_LAG_P95_MS
        if behind:
            print(
                f"the load generator fell behind: 5 % of requests were sent over {lag_ms:.0f} ms late "
                f"(limit {MAX_SEND_LAG_P95_MS:g} ms), which their latencies include",
                file=sys.stderr,
                flush=True,
            )
        self.recorder.report("end", time.perf_counter(), {"send_lag_p95_ms": lag_ms, "behind": behind})
        self.environment.process_exit_code = 0
