"""Closed-loop load: each user sends its next request as soon as it has an answer.

In Locust's web UI: `locust -f locustfiles/closed_loop.py`, then open http://localhost:8089.
With --measure-s it measures by itself: warm up, wait until steady, measure, write every request, end.
With --answers it ends after so many answers.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

# Locust puts this file's own folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locustfiles.inputs import InputsExhausted
from locustfiles.load_user import HEADERS, LoadUser, add_common_arguments, add_hidden
from locustfiles.recorder import Recorder
from locustfiles.window import MeasuredWindow


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    add_common_arguments(parser)
    parser.set_defaults(num_users=50, spawn_rate=5)
    add_hidden(parser, "--settle-s", 60.0, "longest wait for every user's first answer")
    add_hidden(parser, "--max-measure-s", 0.0, "measure up to this long where --measure-s is not enough")
    add_hidden(parser, "--least-answers", 0, "measure until so many right answers")
    add_hidden(parser, "--answers", 0, "instead of --measure-s: end after so many answers, right or wrong")


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    environment.recorder = Recorder()  # type: ignore[attr-defined]


@events.test_start.add_listener
def measure(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    recorder: Recorder = environment.recorder  # type: ignore[attr-defined]
    if options.answers:
        gevent.spawn(recorder.wait_for_answers, environment, options.answers)
    elif options.measure_s > 0:
        window = MeasuredWindow(options.measure_s, options.max_measure_s, options.least_answers)
        gevent.spawn(
            recorder.measure, environment, options.num_users, options.warmup_s, options.settle_s, window
        )


class ClosedLoopUser(LoadUser):
    """Sends a request, waits for the answer, checks it, and sends the next one."""

    wait_time = constant(0)

    @task
    def send_next(self) -> None:
        try:
            samples = self.draw()
        except InputsExhausted as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            self.environment.runner.quit()
            return
        start_s = time.perf_counter()
        with self.post(samples, HEADERS) as (response, wrong):
            if wrong is not None:
                response.failure(wrong)
            latency_ms = response.request_meta["response_time"]
            self.environment.recorder.add(
                id(self), start_s, latency_ms, len(samples), wrong, response.headers or {}
            )
