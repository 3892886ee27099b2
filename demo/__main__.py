"""Command line: `python -m demo` serves the page on 127.0.0.1 until Ctrl-C."""

import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from benchmark.commands import options
from benchmark.commands.output import fail, print_line
from benchmark.commands.session import as_command, read_manifest
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import can_pin
from benchmark.runs.plan import Cores
from demo.app import create_app
from demo.comparison import Comparisons
from demo.servers import running_servers

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 3

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class PageServer(uvicorn.Server):
    """Prints its address once it answers, and stops the comparison first as it shuts down."""

    def __init__(self, config: uvicorn.Config, comparisons: Comparisons, address: str) -> None:
        super().__init__(config)
        self._comparisons, self._address = comparisons, address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print_line(f"\nopen {self._address} (Ctrl-C ends the demo)")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Its stream would else be cut off with a traceback.
        self._comparisons.stop()
        await super().shutdown(sockets)


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Serve a page on which the three servers answer, are compared under load, and show a batch's life."""

    models: options.Models = Path("models-embedded")
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the page; 0: any free one.")] = 8000

    def run(self) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._serve()
        except ProcessFailed as error:
            raise fail(error) from None
        except KeyboardInterrupt:
            pass  # the only way to end it
        print_line("\nthe demo has ended")

    def _serve(self) -> None:
        manifest = read_manifest(self.models)
        usable = Cores.split()
        cores = Cores(usable.server[:1], usable.load)
        with (
            listen(self.port) as listening,
            running_servers(self.models, manifest, cores, print_line) as servers,
        ):
            if all(server.error for server in servers.all):
                raise fail("no server runs")
            comparisons = Comparisons(servers)
            if can_pin():
                os.sched_setaffinity(0, cores.load)
            page = create_app(servers, comparisons, describe(manifest["source"]))
            config = uvicorn.Config(
                page,
                access_log=False,
                log_level="warning",
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
                ws="none",
            )
            address = f"http://{HOST}:{listening.getsockname()[1]}"
            page_server = PageServer(config, comparisons, address)
            # They raise nothing: Python drops a KeyboardInterrupt that is raised in a callback of a weakref.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, page_server.handle_exit)
            page_server.run([listening])


def listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise fail(
            f"port {port} cannot be used ({error.strerror}); name another (make demo PORT=8001)"
        ) from None


def describe(source: str) -> str:
    """What a reader of answers should know of the models."""
    known = {
        "embedded": "small trained ones that need no download; they know everyday scenes and short sentences",
        "random": "seeded random weights in the real ones' sizes; their answers mean nothing",
    }
    return known.get(source, source)


app.command()(as_command(Demo))

if __name__ == "__main__":
    sys.exit(app())
