"""A real Ray Serve with deploy/ray_serve: the contract, a replica lost under load, a rolling update."""

import copy
import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import ROOT
from conftest import EMBEDDED
from steady_load import SteadyLoad, until

from benchmark.measure import loopback
from benchmark.measure.processes import free_port
from benchmark.runs.records import read_json
from dynamic_batching.config import Settings
from dynamic_batching.web.cpus import allowed_cpus
from peers.environments import environment_folder, install
from peers.ray_serve import FOLDER, REQUIREMENTS, SERVE, RayServer, ray_variables, serve_config

RETRYABLE = {502, 503, 504}
CHANGE_AFTER, ANSWERS = 200, 1_500


@pytest.fixture(scope="module", autouse=True)
def ray() -> None:
    install(REQUIREMENTS)


@contextmanager
def ray_serving(folder: Path, **options: object) -> Iterator[RayServer]:
    variables: dict[str, str | None] = {"GAP_MODELS_DIR": str(EMBEDDED)}
    port = free_port()
    with RayServer(
        port, tuple(allowed_cpus()), folder / "ray.log", variables, serve_config(port, **options)
    ) as server:
        server.wait_ready()
        yield server


def replicas_up() -> int:
    """How many replicas HAProxy sends requests to, by its own statistics."""
    page = loopback.get("http://127.0.0.1:8404/stats;csv", timeout=5.0).text.removeprefix("# ")
    rows = csv.DictReader(page.splitlines())
    return sum("REPLICA" in row["svname"] and row["status"].startswith("UP") for row in rows)


def test_the_contract_holds(tmp_path: Path) -> None:
    with ray_serving(tmp_path) as server:
        tests = ROOT / "tests" / "servers" / "test_contract.py"
        command = [sys.executable, "-m", "pytest", str(tests), "--url", server.url, "-p", "no:xdist"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout[-4_000:]
        assert " passed" in ended.stdout


def test_a_replica_that_is_lost_costs_no_answer_and_comes_back(tmp_path: Path) -> None:
    with ray_serving(tmp_path, num_replicas=2) as server:
        # One that is killed while the other still loads would be the only one.
        until(lambda: replicas_up() == 2, "two replicas")
        before = {one.pid for one in server.replicas()}
        with SteadyLoad(server.url) as load:
            load.wait_for(CHANGE_AFTER)
            server.replicas()[0].kill()
            load.wait_for(ANSWERS)
            until(lambda: replicas_up() == 2, "the replica comes back")
        assert len({one.pid for one in server.replicas()} & before) == 1
        assert load.outcomes[200] >= 0.9 * load.outcomes.total(), load.outcomes
        assert {*load.outcomes} <= {200, "connection error", *RETRYABLE}, load.outcomes
        print(dict(load.outcomes))


def test_a_rolling_update_loses_nothing(tmp_path: Path) -> None:
    with ray_serving(tmp_path) as server:
        (before,) = server.replicas()
        (dashboard,) = {*re.findall(r"http://127\.0\.0\.1:\d+", server.log_path.read_text())} - {server.url}
        port = int(server.url.rpartition(":")[2])
        update = {"num_cpus": 1, "runtime_env": {"env_vars": {"GAP_QUEUE_SIZE": "512"}}}
        path = tmp_path / "update.yaml"
        path.write_text(yaml.safe_dump(serve_config(port, ray_actor_options=update)))
        deploy = [environment_folder(REQUIREMENTS) / "bin" / "serve", "deploy", "--address", dashboard, path]
        with SteadyLoad(server.url) as load:
            load.wait_for(CHANGE_AFTER)
            # The token that `serve run` has made is asked for, but not looked for unless told so.
            ended = subprocess.run(
                deploy, env={**os.environ, "RAY_AUTH_MODE": "token"}, capture_output=True, text=True
            )
            assert ended.returncode == 0, ended.stderr
            until(lambda: not before.is_running(), "the old replica ends")
            load.wait_for(load.outcomes.total() + CHANGE_AFTER)
        (after,) = server.replicas()
        assert after.environ()["GAP_QUEUE_SIZE"] == "512"
        assert {*load.outcomes} == {200}, load.outcomes


def test_deployments_are_measured_in_turns(tmp_path: Path) -> None:
    if len(allowed_cpus()) < 2:
        pytest.skip("the replica and Ray's proxy have a core each")
    options = {"models": EMBEDDED, "results": tmp_path, "name": "run", "tasks": "sentiment", "users": 4}
    options |= {
        "duration": 1,
        "max-duration": 1,
        "warmup": 0.5,
        "repeats": 2,
        "load-generator-limit": 0,
        "in-process": 0.1,
    }
    command = [sys.executable, "-m", "peers.deployments"]
    command += [f"--{name}={value}" for name, value in options.items()]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    content = read_json(tmp_path / "run" / "deployments.json")["tasks"]["sentiment"]
    one_core, all_cores, ray_serve = content["deployments"]
    assert [one["name"] for one in content["deployments"]] == ["one_core", "all_cores", "ray_serve"]
    assert one_core["ratio"] == 1 and ray_serve["ratio"] > 0 and content["event_loop_ms"] > 0
    assert content["in_process"]["ratio"] > 0
    assert all(one["server_cpu_percent"] > 0 for one in (one_core, all_cores, ray_serve))
    assert ray_serve["rss_peak_bytes"] > one_core["rss_peak_bytes"]


def test_kuberay_gets_the_same_application() -> None:
    manifest = yaml.safe_load((FOLDER / "rayservice.yaml").read_text())
    on_cluster = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    here: dict[str, Any] = copy.deepcopy(yaml.safe_load(SERVE.read_text()))
    assert on_cluster.pop("http_options") == {**here.pop("http_options"), "host": "0.0.0.0"}
    assert on_cluster == here
    cluster = manifest["spec"]["rayClusterConfig"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        variables = {one["name"]: one["value"] for one in container["env"]}
        assert ray_variables().items() <= variables.items()


def test_a_replica_outlives_its_requests_and_takes_what_the_server_can_queue() -> None:
    (deployment,) = serve_config(8000)["applications"][0]["deployments"]
    fields = Settings.model_fields
    assert deployment["graceful_shutdown_timeout_s"] * 1e3 > fields["timeout_ms"].default
    assert (
        deployment["max_ongoing_requests"] > fields["queue_size"].default + fields["max_batch_size"].default
    )


def test_rays_own_schema_accepts_the_file_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    imports = "import sys, yaml; from ray.serve.schema import ServeDeploySchema as Schema"
    check = f"{imports}; Schema(**yaml.safe_load(sys.stdin))"
    python = environment_folder(REQUIREMENTS) / "bin" / "python"
    right = serve_config(8000)
    wrong = serve_config(8000, max_ongoing_requests=0)
    for config, accepted in ((right, True), (wrong, False)):
        ended = subprocess.run(
            [python, "-c", check], input=yaml.safe_dump(config), capture_output=True, text=True
        )
        assert (ended.returncode == 0) == accepted, ended.stderr
    assert "max_ongoing_requests" in ended.stderr
