"""Mosec: a Rust HTTP server that hands batches to a Python worker process.

Start: python server.py --address 127.0.0.1 --port 8000, with the environment of peers/servers/settings.py.
"""

from mosec import Runtime, Server, Worker, get_logger

from peers.servers.inference import Answer, load_engine
from peers.servers.settings import PeerSettings

TIMEOUT_S = 600
settings = PeerSettings()  # type: ignore[call-arg]
logger = get_logger()


class Inference(Worker):
    """One process with the model; Mosec calls `forward` with a batch of decoded bodies."""

    def __init__(self) -> None:
        self.engine = load_engine(settings)

    def forward(self, data: list[dict[str, str]]) -> list[Answer]:
        return self.engine([one["text"] for one in data])


if __name__ == "__main__":
    server = Server()
    runtime = Runtime(
        Inference,
        max_batch_size=settings.max_batch_size,
        max_wait_time=int(settings.max_wait_ms),
        timeout=TIMEOUT_S,
    )
    server.register_runtime({settings.route: [runtime]})
    server.run()
