"""Each serving system that is installed answers the contract, in batches as its engine does alone."""

from pathlib import Path

import pytest
from conftest import EMBEDDED

from benchmark.measure.target import Target
from benchmark.runs.plan import Cores
from benchmark.runs.records import TASKS, read_json
from dynamic_batching.web.cpus import allowed_cpus
from peers.environments import install, is_installed
from peers.servers.configuration import PeerServer
from peers.servers.preparation import Preparation
from peers.servers.same_answers import share_of_same_answers
from peers.servers.systems import SYSTEMS, Peer, peers_of

CORES = Cores((allowed_cpus()[0],), (allowed_cpus()[-1],))
# Small enough to be installed by the tests; the others are tested where `make bench-peers` has been run.
ALWAYS = ("mosec", "fastapi_optimum")


@pytest.mark.parametrize(
    ("task", "peer"), [(task, peer) for task in TASKS for peer in peers_of(task)], ids=str
)
def test_a_system_answers_as_its_engine_alone(tmp_path: Path, task: str, peer: Peer) -> None:
    requirements = SYSTEMS[peer.system].requirements
    if peer.system in ALWAYS:
        install(requirements)
    elif not is_installed(requirements):
        pytest.skip(f"{peer.system} is not installed; `make bench-peers` installs it")
    manifest = read_json(EMBEDDED / "manifest.json")
    prepared = Preparation(EMBEDDED, manifest, tmp_path, CORES, 50, 1.0, print)
    (tmp_path / "logs").mkdir()
    prepared.convert_weights(peer, task)
    configuration = prepared.configuration(peer, task)
    target = Target(configuration, task, tmp_path, CORES)
    with target.with_cache(), target.serving("answers") as server:
        target.check_answers(server, 0)
        assert isinstance(server, PeerServer)
        assert share_of_same_answers(configuration, server) >= 0.9
