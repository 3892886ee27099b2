"""What closed and open loop are told alike on the command line, and the stream of texts it names."""

from argparse import Namespace

from locust.argument_parser import LocustArgumentParser

from locustfiles.answers import route
from locustfiles.inputs import TASKS, WORKLOADS, Sample, stream

HEADERS = {"Content-Type": "application/json"}
NETWORK_TIMEOUT_S = 600.0


def add_common_arguments(parser: LocustArgumentParser) -> None:
    parser.set_defaults(host="http://127.0.0.1:8000")
    parser.add_argument("--task", choices=TASKS, default="translation", help="what is asked")
    parser.add_argument(
        "--workload", choices=WORKLOADS, default="unique", help="unique texts, repeats, paragraphs"
    )
    parser.add_argument("--texts-per-request", type=int, default=1, help="over 1: the batch endpoint")
    parser.add_argument("--seed", type=int, default=0, help="of the texts' order")
    parser.add_argument(
        "--check-labels", action="store_true", help="a known polarity must come back (trained models)"
    )
    add_seconds(parser, "--measure-s", 0.0, "measure this long, then end; 0: run until stopped")
    add_seconds(parser, "--warmup-s", 2.0, "least time before measuring")
    parser.add_argument(
        "--requests-file", default="", help="where every request goes", include_in_web_ui=False
    )


def add_seconds(parser: LocustArgumentParser, name: str, default: float, text: str) -> None:
    """An option in seconds that the web UI, which has a duration of its own, does not show."""
    parser.add_argument(name, type=float, default=default, help=text, include_in_web_ui=False)


class Inputs:
    """One stream for all users, so that every server is asked the same texts in the same order."""

    def __init__(self, options: Namespace) -> None:
        self.samples = stream(options.task, options.workload, options.seed)
        self.size: int = options.texts_per_request
        self.batch = self.size > 1
        self.route = route(options.task, self.batch)

    def draw(self) -> list[Sample]:
        return [next(self.samples) for _ in range(self.size)]
