"""How a peer's server is started, when it is ready, and how all of its processes are ended."""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmark.measure import loopback
from benchmark.measure.configurations import Configuration
from benchmark.measure.processes import Server
from benchmark.runs.environment import ROOT
from dynamic_batching.runtime.onnx_files import cpu_flags
from peers.environments import environment_folder, python_of
from peers.servers.settings import ROUTES
from peers.servers.systems import SYSTEMS, Peer, Settings, System

# After its main process has ended.
LEFT_BEHIND_S = 1.5
FIRST_TEXT = "A first text."
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class PeerServer(Server):
    """A peer's processes. It is ready once it answers a text: not every system has a page that says so."""

    route = ""

    def is_ready(self) -> bool:
        answer = loopback.post(f"{self.url}{self.route}", json={"text": FIRST_TEXT}, timeout=30.0)
        return answer.status_code == 200

    def stop(self) -> None:
        """Ends the processes that it has started as well, where it leaves some behind."""
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.pid).children(recursive=True)
        try:
            super().stop()
            _, started = psutil.wait_procs(started, timeout=LEFT_BEHIND_S)
            signal_all(psutil.Process.terminate, started)
            _, started = psutil.wait_procs(started, timeout=LEFT_BEHIND_S)
        finally:  # Ctrl-C may come while they are waited for
            signal_all(psutil.Process.kill, started)


def signal_all(signal_process: Callable[[psutil.Process], None], processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            signal_process(process)


@dataclass(frozen=True)
class PeerConfiguration(Configuration):
    """A peer doing one task; `weights` are its engine's own copy, `peer_settings` its server's."""

    task: str = ""
    peer: Peer = field(default_factory=lambda: Peer("", ""))
    weights: Path = Path()
    peer_settings: Settings = field(default_factory=dict)

    @property
    def system(self) -> System:
        return SYSTEMS[self.peer.system]

    def artefact(self, task: str) -> dict[str, object]:
        """The entry of the float32 weights, from which every engine's own copy is made."""
        return self.manifest["artefacts"][f"{task}/pytorch"]

    def environment(self, redis_url: str) -> dict[str, str | None]:
        # CTranslate2 uses its AVX2 kernels on AMD CPUs that have AVX-512, unless it is told.
        isa = {"CT2_FORCE_CPU_ISA": "AVX512"} if "avx512bw" in cpu_flags() else {}
        return {
            **ONE_THREAD,
            **isa,
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{environment_folder(self.system.requirements) / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PEER_TASK": self.task,
            "PEER_ENGINE": self.peer.engine,
            "PEER_MODELS": str(self.models_dir.resolve()),
            "PEER_WEIGHTS": str(self.weights),
            "PEER_REDIS_URL": redis_url if self.cached else "",
            **{f"PEER_{name.upper()}": str(value) for name, value in self.peer_settings.items()},
        }

    def path(self, task: str, batch: bool) -> str:
        return self.system.paths.get(task, ROUTES[task])

    def variables(self, redis_url: str) -> dict[str, str]:
        """This process's environment variables with those of `environment`."""
        variables = {**os.environ, **self.environment(redis_url)}
        return {name: value for name, value in variables.items() if value is not None}

    def start(
        self, port: int, cores: tuple[int, ...], log_path: Path, environment: Mapping[str, str | None]
    ) -> PeerServer:
        requirements, (first, *others) = self.system.requirements, self.system.command
        python = str(python_of(requirements))
        script = (
            [str(environment_folder(requirements) / first)] if first.startswith("bin/") else [python, first]
        )
        command = [part.format(port=port) for part in (*script, *others)]
        server = PeerServer(
            self.server,
            port,
            cores,
            log_path,
            {**environment, "PEER_PORT": str(port)},
            self.system.server.parent,
            command,
        )
        server.route = self.path(self.task, False)
        return server
