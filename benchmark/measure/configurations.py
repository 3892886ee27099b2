"""How the server behind a cell is run: its folder, its models, its settings, with a cache or without."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.measure.processes import ProcessFailed, Server
from benchmark.measure.redis_server import has_redis
from benchmark.runs.environment import ROOT
from locustfiles.answers import route

# In a closed loop no server may refuse what another one answers late: latency is what is compared.
CLOSED_LOOP_SETTINGS = {"GAP_TIMEOUT_MS": "600000"}
CACHED_SERVERS = ("optimized",)
MODEL_FORMATS = {"baseline": "pytorch", "optimized": "onnx", "dynamic_batching": "onnx"}
PREPARE = "prepare it with `python optimize_model.py --output {}"


@dataclass(frozen=True)
class Configuration:
    """A way to run one of the server folders.

    `settings` are environment variables in addition to the common ones; `code` is the checkout to run.
    """

    server: str
    models_dir: Path
    manifest: dict[str, Any]
    cached: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    code: Path = ROOT

    def artefact(self, task: str) -> dict[str, Any]:
        """The manifest's entry of the model that this server does `task` with.

        Raises ProcessFailed where the models folder lacks it.
        """
        name = f"{task}/{MODEL_FORMATS[self.server]}"
        if name not in self.manifest["artefacts"]:
            raise ProcessFailed(f"{self.models_dir} holds no {name}; {PREPARE.format(self.models_dir)}`")
        return self.manifest["artefacts"][name]

    def model(self, task: str) -> dict[str, Any]:
        """The same without its files, for a record."""
        return {key: value for key, value in self.artefact(task).items() if key != "files"}

    def environment(self, redis_url: str) -> dict[str, str | None]:
        """The environment variables of its process; without a cache of its own it is kept from any other."""
        return {
            "GAP_MODELS_DIR": str(self.models_dir.resolve()),
            "GAP_REDIS_URL": None,
            "REDIS_URL": (redis_url or None) if self.cached else None,
            **self.settings,
        }

    def path(self, task: str, batch: bool) -> str:
        """The path of its requests."""
        return route(task, batch)

    def start(
        self, port: int, cores: tuple[int, ...], log_path: Path, environment: Mapping[str, str | None]
    ) -> Server:
        """Its process with these environment variables, which is not ready yet."""
        return Server(self.server, port, cores, log_path, environment, self.code)


def default_configuration(server: str, models_dir: Path, manifest: dict[str, Any]) -> Configuration:
    """A server with its folder's defaults; without its cache where there is no Redis."""
    cached = server in CACHED_SERVERS and has_redis()
    return Configuration(server, models_dir, manifest, cached)
