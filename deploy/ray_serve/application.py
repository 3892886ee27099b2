"""`dynamic_batching/` as a Ray Serve application: each replica is the whole server, behind Ray's proxy.

`make serve-ray` starts it on one machine; serve.yaml has the options of its deployment.
"""

import asyncio
import os

import ray
from fastapi import FastAPI
from ray import serve

LOADING_POLL_S = 0.1


@serve.deployment
@serve.ingress()
class DynamicBatching:
    """One process with the server's own app, which batches the requests that this replica holds."""

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Called by Ray in the replica's process, which then runs the app's lifespan."""
        # Ray sets a replica's CPUs aside but does not keep it to them.
        cpus = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
        os.environ["GAP_THREADS"] = str(max(1, int(cpus)))
        # Built here: an app holds an engine, which cannot be sent to another process.
        from dynamic_batching.server import app

        self._service = app.state.service
        return app

    async def check_health(self) -> None:
        """What /ready answers. The first call is part of the replica's start, so it waits for the models.

        Raises:
            RuntimeError: why the replica is not ready; after three failures Ray starts another.
        """
        while not self._service.loaded:
            await asyncio.sleep(LOADING_POLL_S)
        if refusal := self._service.unready():
            raise RuntimeError(refusal.detail)


application = DynamicBatching.bind()  # type: ignore[attr-defined]
