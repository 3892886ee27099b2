"""Ray Serve: an HTTP proxy process, and a replica that batches the requests which it holds.

Start: python server.py, with the environment of peers/servers/settings.py.
"""

import os
import signal

# Ray reads these when it is imported: its settings for throughput, among them HAProxy instead of its proxy in
# Python, and no request to the network.
os.environ |= {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"}
os.environ |= {"RAY_SERVE_HAPROXY_NBTHREAD": "1", "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0"}
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}

import ray
from ray import serve
from starlette.requests import Request

from peers.servers.inference import Answer, load_engine
from peers.servers.settings import PeerSettings

TIMEOUT_S = 600
# More than any number of users: what the replica does not hold, it cannot batch.
MAX_ONGOING_REQUESTS = 1000
OBJECT_STORE_BYTES = 100_000_000
settings = PeerSettings()  # type: ignore[call-arg]


@serve.deployment(
    num_replicas=1, max_ongoing_requests=MAX_ONGOING_REQUESTS, ray_actor_options={"num_cpus": 1}
)
class Inference:
    """One process with the model."""

    def __init__(self) -> None:
        self.engine = load_engine(settings)

    @serve.batch(max_batch_size=settings.max_batch_size, batch_wait_timeout_s=settings.max_wait_ms / 1e3)
    async def infer(self, texts: list[str]) -> list[Answer]:
        return self.engine(texts)

    async def __call__(self, request: Request) -> Answer:
        return await self.infer((await request.json())["text"])


def main() -> None:
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        logging_level="warning",
        log_to_driver=False,
    )
    serve.start(
        http_options={"host": "127.0.0.1", "port": settings.port, "request_timeout_s": TIMEOUT_S},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    application = Inference.bind()  # type: ignore[attr-defined]
    serve.run(application, route_prefix=settings.route)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()


if __name__ == "__main__":
    main()
