"""How the server behind a cell is run: its folder, its models, its settings, with a cache or without."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.measure.redis_server import has_redis

# A server of the comparison must not refuse what another one answers late: latency is the finding.
SERVER_SETTINGS = {"GAP_TIMEOUT_MS": "600000"}
CACHED_SERVERS = ("optimized",)
MODEL_FORMATS = {"baseline": "pytorch", "optimized": "onnx", "dynamic_batching": "onnx"}


@dataclass(frozen=True)
class Configuration:
    """A way to run one of the server folders; `settings` are environment variables beside the common ones."""

    server: str
    models_dir: Path
    manifest: dict[str, Any]
    cached: bool
    settings: Mapping[str, str] = field(default_factory=dict)

    def artefact(self, task: str) -> dict[str, Any]:
        """What the manifest says of the model that this server does `task` with."""
        return self.manifest["artefacts"][f"{task}/{MODEL_FORMATS[self.server]}"]

    def environment(self, redis_url: str) -> dict[str, str | None]:
        """The environment variables of its process; a cache that it should not have is taken away."""
        cache = redis_url if self.cached else None
        return {
            **SERVER_SETTINGS,
            "GAP_MODELS_DIR": str(self.models_dir.resolve()),
            "GAP_REDIS_URL": None,
            "REDIS_URL": cache,
            **self.settings,
        }


def usual(server: str, models_dir: Path, manifest: dict[str, Any]) -> Configuration:
    """A server as its folder's defaults have it; without its cache where there is no Redis."""
    return Configuration(server, models_dir, manifest, cached=has_cache(server))


def has_cache(server: str) -> bool:
    return server in CACHED_SERVERS and has_redis()
