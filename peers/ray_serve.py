"""`deploy/ray_serve/` as a server of the benchmark and the tests: `serve run` and what it starts."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmark.measure.processes import READY_TIMEOUT_S, pin_threads
from benchmark.runs.environment import ROOT
from peers.environments import environment_folder
from peers.servers.configuration import PeerServer

FOLDER = ROOT / "deploy" / "ray_serve"
REQUIREMENTS = FOLDER / "requirements.txt"
SERVE = FOLDER / "serve.yaml"
REPLICA = "ray::ServeReplica"
# Set in every process of one start, with the path of its log.
LOG = "RAY_SERVE_LOG"


def ray_variables(path: Path = FOLDER / "ray.env") -> dict[str, str]:
    """The variables that ray.env sets, as a shell reads it."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(shlex.split(line)[0].split("=", 1) for line in lines)


def serve_config(port: int, **options: object) -> dict[str, Any]:
    """The content of serve.yaml with this port, and with these options of its deployment instead of its own.

    `num_replicas` is given instead of autoscaling.
    """
    config: dict[str, Any] = yaml.safe_load(SERVE.read_text())
    config["http_options"]["port"] = port
    (deployment,) = config["applications"][0]["deployments"]
    if "num_replicas" in options:
        del deployment["autoscaling_config"]
    deployment |= options
    return config


class RayServer(PeerServer):
    """Ray, its proxy and the replicas of the application; ready once it answers a text.

    Once ready, the replicas have `replica_cores`, where these are given, and all else has `cores`.
    """

    route = "/translate"

    def __init__(
        self,
        port: int,
        cores: tuple[int, ...],
        log_path: Path,
        environment: Mapping[str, str | None],
        config: dict[str, Any],
        replica_cores: tuple[int, ...] = (),
    ) -> None:
        self.replica_cores = replica_cores
        path = log_path.with_suffix(".yaml")
        path.write_text(yaml.safe_dump(config))
        command = [str(environment_folder(REQUIREMENTS) / "bin" / "serve"), "run", str(path)]
        environment = {**environment, **ray_variables(), "PYTHONPATH": str(ROOT), LOG: str(log_path)}
        super().__init__("ray_serve", port, cores, log_path, environment, command=command)

    def replicas(self) -> list[psutil.Process]:
        """The processes that run the application."""
        return [one for one in self.processes() if REPLICA in " ".join(one.cmdline())]

    def processes(self) -> Iterator[psutil.Process]:
        for process in psutil.Process(self.pid).children(recursive=True):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield process

    def stop(self) -> None:
        """Ends an HAProxy as well that Ray started while it stopped: it would hold the next one's ports."""
        super().stop()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(LOG) == str(self.log_path):
                    process.kill()
                    process.wait()

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        super().wait_ready(timeout_s)
        for process in self.replicas() if self.replica_cores else ():
            pin_threads(process, self.replica_cores)
