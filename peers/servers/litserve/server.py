"""LitServe: FastAPI in one process, batches of its requests in a worker process.

Start: python server.py, with the environment of peers/servers/settings.py.
"""

import litserve

from peers.servers.inference import Answer, load_engine
from peers.servers.settings import PeerSettings

TIMEOUT_S = 600
settings = PeerSettings()  # type: ignore[call-arg]


class Inference(litserve.LitAPI):
    """`predict` gets a batch of decoded requests; each of its answers is encoded on its own."""

    def setup(self, device: str) -> None:
        self.engine = load_engine(settings)

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: list[str]) -> list[Answer]:
        return self.engine(texts)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        return output

    def encode_response(self, output: Answer) -> Answer:
        return output


if __name__ == "__main__":
    api = Inference(
        max_batch_size=settings.max_batch_size,
        batch_timeout=settings.max_wait_ms / 1e3,
        api_path=settings.route,
    )
    # fast_queue: ZeroMQ instead of a multiprocessing queue, recommended from 100 requests/s. LitServe 0.2.19
    # ignores it (its issue 751); it is left on for a release that does not.
    server = litserve.LitServer(api, accelerator="cpu", devices=1, timeout=TIMEOUT_S, fast_queue=True)
    server.run(
        host="127.0.0.1",
        port=settings.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
