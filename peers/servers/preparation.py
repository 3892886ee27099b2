"""Makes a peer ready: installs it, converts its weights, searches its settings, checks its answers.

results/<run>/systems/<peer>.json   what was found; a peer that cannot be measured has its `error`
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.measure.processes import ProcessFailed
from benchmark.measure.redis_server import has_redis
from benchmark.measure.target import Target
from benchmark.runs.environment import ROOT
from benchmark.runs.plan import Cores
from benchmark.runs.records import read_json, write_json
from peers.engines.registry import engine_spec
from peers.engines.runner import convert_weights, find_files
from peers.engines.workers import Paths
from peers.environments import install, is_installed, python_of
from peers.servers.configuration import PeerConfiguration, PeerServer
from peers.servers.same_answers import share_of_same_answers
from peers.servers.search import search_settings
from peers.servers.systems import SYSTEMS, Peer

FOLDER = "systems"


@dataclass(frozen=True)
class Preparation:
    """What all peers of a run have in common. A pass of a search is a closed loop of `users`."""

    models: Path
    manifest: dict[str, Any]
    folder: Path
    cores: Cores
    users: int
    search_s: float
    print_line: Callable[[str], None]

    def prepare(self, peer: Peer, task: str) -> tuple[dict[str, Any], PeerConfiguration]:
        """The peer's record and its configuration, from the run's files if it was prepared before.

        A failure is in the record. It is tried again until the run's plan is written, which it is no part of.
        """
        path = self.folder / FOLDER / f"{peer.name}.json"
        configuration = self.configuration(peer, task)
        planned = (self.folder / "run.json").is_file()
        if path.is_file() and (planned or not read_json(path)["error"]):
            record = read_json(path)
            return record, replace(configuration, peer_settings=record.get("settings", {}))
        record = {
            "peer": peer.name,
            "title": peer.title,
            "task": task,
            "versions": configuration.system.versions(peer.engine),
            "lines_of_code": configuration.system.lines_of_code(),
            "error": None,
        }
        try:
            configuration = self.measure_preparation(configuration, record)
        except ProcessFailed as error:
            record["error"] = str(error)
            self.print_line(f"{peer.name}, {task}: {error}")
        write_json(path, record)
        return record, configuration

    def configuration(self, peer: Peer, task: str) -> PeerConfiguration:
        cached = SYSTEMS[peer.system].uses_redis and has_redis()
        common = peer.name, self.models, self.manifest, cached
        weights = self.paths(peer, task).converted(peer.engine)
        return PeerConfiguration(*common, task=task, peer=peer, weights=weights)

    def measure_preparation(
        self, configuration: PeerConfiguration, record: dict[str, Any]
    ) -> PeerConfiguration:
        """The configuration with the fastest settings; adds what was measured to `record`."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        requirements = configuration.system.requirements
        if not is_installed(requirements):
            self.print_line(f"installing {requirements.relative_to(ROOT)} (once)")
        install(requirements)
        self.convert_weights(configuration.peer, configuration.task)
        target = self.target(configuration)
        with target.with_cache():
            tuned, record["searched"] = search_settings(
                target, configuration, self.users, self.search_s, self.print_line
            )
            record["settings"] = tuned.peer_settings
            target = replace(target, configuration=tuned)
            with target.serving(f"{tuned.server}-answers") as server:
                target.check_answers(server, 0)
                assert isinstance(server, PeerServer)
                record["same_answers"] = share_of_same_answers(tuned, server)
        settings = ", ".join(f"{name} {value}" for name, value in tuned.peer_settings.items())
        self.print_line(
            f"{tuned.server}: {settings or 'nothing to choose'}; "
            f"{record['same_answers']:.0%} of its answers are those of its engine alone"
        )
        return tuned

    def target(self, configuration: PeerConfiguration) -> Target:
        folder = self.folder / FOLDER
        return Target(configuration, configuration.task, folder, self.cores, self.folder / "logs")

    def paths(self, peer: Peer, task: str) -> Paths:
        """Where the engines' own copies of the weights are, and the Python that converts them: the peer's."""
        _, sha256 = find_files(self.models, task)
        logs, cache = self.folder / "logs", ROOT / ".cache" / "peers"
        python = python_of(SYSTEMS[peer.system].requirements)
        return Paths(task, self.models.resolve(), cache, sha256, logs, python)

    def convert_weights(self, peer: Peer, task: str) -> None:
        """Makes the engine's own copy of the weights, once; ours runs the models folder's."""
        engine, paths = peer.engine, self.paths(peer, task)
        if engine_spec(task, engine).converts_weights and not paths.converted(engine).is_dir():
            self.print_line(f"{task}: converting the weights for {engine} (once)")
            convert_weights(engine, self.cores.server, paths)
