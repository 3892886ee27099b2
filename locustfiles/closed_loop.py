"""Closed-loop load: each user asks again as soon as it is answered.

In Locust's web UI: `locust -f locustfiles/closed_loop.py`, then open http://localhost:8089.
With --measure-s it measures by itself: warm up, wait until steady, measure, write every request, end.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

# Locust puts this file's own folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locustfiles.answers import problem, request_body
from locustfiles.inputs import InputsExhausted
from locustfiles.options import HEADERS, NETWORK_TIMEOUT_S, Inputs, add_common_arguments, add_seconds
from locustfiles.recorder import Recorder
from locustfiles.window import MeasuredWindow


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    add_common_arguments(parser)
    parser.set_defaults(num_users=50, spawn_rate=5)
    add_seconds(parser, "--settle-s", 60.0, "longest wait for every user's first answer")
    add_seconds(parser, "--max-measure-s", 0.0, "measure up to this long where --measure-s is not enough")
    parser.add_argument(
        "--least-answers", type=int, default=0, help="what is enough", include_in_web_ui=False
    )


@events.init.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    environment.recorder = Recorder()  # type: ignore[attr-defined]


@events.test_start.add_listener
def start(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    environment.inputs = Inputs(options)  # type: ignore[attr-defined]
    if options.measure_s > 0:
        gevent.spawn(
            environment.recorder.measure,  # type: ignore[attr-defined]
            environment,
            users=options.num_users,
            warmup_s=options.warmup_s,
            settle_s=options.settle_s,
            window=MeasuredWindow(options.measure_s, options.max_measure_s, options.least_answers),
        )


@events.quitting.add_listener
def finish(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and options.requests_file:
        environment.recorder.write(Path(options.requests_file))  # type: ignore[attr-defined]


class ClosedLoopUser(FastHttpUser):
    """Asks, waits for the answer, checks it, asks again."""

    wait_time = constant(0)
    network_timeout = NETWORK_TIMEOUT_S
    connection_timeout = NETWORK_TIMEOUT_S

    @task
    def ask(self) -> None:
        inputs: Inputs = self.environment.inputs
        options = self.environment.parsed_options
        try:
            samples = inputs.draw()
        except InputsExhausted as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            self.environment.runner.quit()
            return
        body = request_body(samples, inputs.batch)
        start_s = time.perf_counter()
        with self.client.post(inputs.route, data=body, headers=HEADERS, catch_response=True) as response:
            wrong = problem(
                options.task,
                response.status_code,
                response.content or b"",
                samples,
                batch=inputs.batch,
                check_labels=options.check_labels,
            )
            if wrong is not None:
                response.failure(wrong)
            headers = response.headers or {}
            self.environment.recorder.add(
                user=id(self),
                start_s=start_s,
                latency_ms=response.request_meta["response_time"],
                texts=len(samples),
                error=wrong,
                server_timing=headers.get("server-timing") or "",
                cache=headers.get("x-cache") or "",
            )
