"""Closed-loop load: each user asks again as soon as it is answered.

In Locust's web UI: `locust -f locustfiles/closed_loop.py`, then open http://localhost:8089.
With --measure-s it measures by itself: warm up, wait until steady, measure, write every request, end.
"""

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

# Locust puts this file's own folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import TASKS, WORKLOADS, InputsExhausted, stream
from locustfiles.recorder import Recorder

HEADERS = {"Content-Type": "application/json"}
NETWORK_TIMEOUT_S = 600.0


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    parser.set_defaults(num_users=50, spawn_rate=5, host="http://127.0.0.1:8000")
    parser.add_argument("--task", choices=TASKS, default="translation", help="what is asked")
    parser.add_argument("--workload", choices=WORKLOADS, default="unique", help="no text twice, or repeats")
    parser.add_argument("--texts-per-request", type=int, default=1, help="over 1: the batch endpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the texts' order")
    parser.add_argument(
        "--check-labels", action="store_true", help="a known polarity must come back (trained models)"
    )
    for name, default, text in (
        ("--measure-s", 0.0, "measure this long, then end; 0: run until stopped"),
        ("--warmup-s", 2.0, "least time before measuring"),
        ("--settle-s", 60.0, "longest wait for every user's first answer"),
    ):
        parser.add_argument(name, type=float, default=default, help=text, include_in_web_ui=False)
    parser.add_argument(
        "--requests-file", default="", help="where every request goes", include_in_web_ui=False
    )


class Inputs:
    """One stream for all users, so that every server is asked the same texts in the same order."""

    def __init__(self, options: Namespace) -> None:
        self.samples = stream(options.task, options.workload, options.seed)
        self.size: int = options.texts_per_request
        self.batch = self.size > 1
        self.route = route(options.task, self.batch)

    def draw(self) -> list[Any]:
        return [next(self.samples) for _ in range(self.size)]


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
            duration_s=options.measure_s,
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
