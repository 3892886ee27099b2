"""What the closed and the open loop share: options, texts, and how a request is sent, checked and kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import ResponseContextManager
from locust.env import Environment

from locustfiles.answers import problem, request_body, route
from locustfiles.inputs import TASKS, WORKLOADS, Sample, stream

HEADERS = {"Content-Type": "application/json"}
NETWORK_TIMEOUT_S = 600.0


def add_common_arguments(parser: LocustArgumentParser) -> None:
    parser.set_defaults(host="http://127.0.0.1:8000")
    parser.add_argument("--task", choices=TASKS, default="translation", help="what is requested")
    parser.add_argument(
        "--workload", choices=WORKLOADS, default="unique", help="unique texts, repeats, paragraphs"
    )
    parser.add_argument("--texts-per-request", type=int, default=1, help="over 1: the batch endpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the texts")
    parser.add_argument(
        "--check-labels", action="store_true", help="a wrong label is a failure (trained models only)"
    )
    add_hidden(parser, "--measure-s", 0.0, "measure this long, then end; 0: run until stopped")
    add_hidden(parser, "--warmup-s", 2.0, "shortest warm-up before measuring")
    add_hidden(parser, "--path", "", "path of the requests where it is not that of the task")
    add_hidden(parser, "--requests-file", "", "the file for one row per request (.csv.xz)")


def add_hidden(parser: LocustArgumentParser, name: str, default: float | int | str, text: str) -> None:
    """An option that the web UI, which has a duration of its own, does not show."""
    parser.add_argument(name, type=type(default), default=default, help=text, include_in_web_ui=False)


@events.test_start.add_listener
def open_stream(environment: Environment, **_: Any) -> None:
    """One stream for all users, so that every server gets the same texts in the same order.

    In a distributed run each worker has a stream of its own.
    """
    options = environment.parsed_options
    assert options is not None
    seed = options.seed + getattr(environment.runner, "worker_index", 0)
    environment.samples = stream(options.task, options.workload, seed)  # type: ignore[attr-defined]


@events.quitting.add_listener
def write_requests(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if options is not None and options.requests_file:
        environment.recorder.write(Path(options.requests_file))  # type: ignore[attr-defined]


class LoadUser(FastHttpUser):
    """Draws texts from the stream, sends them and checks the answers."""

    abstract = True
    network_timeout = connection_timeout = NETWORK_TIMEOUT_S

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        assert environment.parsed_options is not None
        self.options = environment.parsed_options
        self.batch = self.options.texts_per_request > 1
        self.route = self.options.path or route(self.options.task, self.batch)

    def draw(self) -> list[Sample]:
        return [next(self.environment.samples) for _ in range(self.options.texts_per_request)]

    @contextmanager
    def post(
        self, samples: list[Sample], headers: dict[str, str]
    ) -> Iterator[tuple[ResponseContextManager, str | None]]:
        """The response to a request for `samples`, and what is wrong with it."""
        task, batch, check_labels = self.options.task, self.batch, self.options.check_labels
        body = request_body(samples, batch)
        with self.client.post(self.route, data=body, headers=headers, catch_response=True) as response:
            status, content = response.status_code, response.content or b""
            yield response, problem(task, status, content, samples, batch=batch, check_labels=check_labels)
