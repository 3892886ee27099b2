"""The Compose file: the specification accepts it, and it names files, images and settings that exist."""

import subprocess
import sys
from typing import Any

import pytest
from checkout import ROOT
from conftest import SERVERS
from deploy_files import DEPLOY, documents, known_variables, stages

from baseline.web.settings import HttpSettings
from locustfiles.inputs import stream

PATH = DEPLOY / "compose.yaml"
COMPOSE = documents(PATH)[0]
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def service_of(server: str) -> dict[str, Any]:
    return SERVICES[server.replace("_", "-")]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("", ""),
        ("cpus: 1.0", "cpu: 1.0"),
        ("mem_limit: 3g", "mem_limit: much"),
        ("models:/models:ro", "modles:/models:ro"),
        ("service_completed_successfully", "service_done"),
    ],
)
def test_the_specification_accepts_the_file_and_refuses_a_wrong_one(right: str, wrong: str) -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="`make test-deploy` installs it")
    text = PATH.read_text()
    assert right in text

    def check() -> None:
        compose_spec.PyOptions(apply_merge=True).from_yaml(text.replace(right, wrong)).validate()

    if right == wrong:
        check()
    else:
        with pytest.raises(ValueError):
            check()


def test_images_and_files_that_are_named_exist() -> None:
    for service in SERVICES.values():
        if "build" in service:
            build = service["build"]
            context = (DEPLOY / build["context"]).resolve()
            assert (context / build["dockerfile"]).is_file() and build["target"] in stages()
        else:
            tag = service["image"].partition(":")[2]
            assert tag[:1] in "v0123456789" != tag[:1], "an image without a fixed version"
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_gets_models_settings_that_it_has_and_time_to_drain(server: str) -> None:
    service = service_of(server)
    assert {*service.get("environment", {})} <= known_variables(server)
    assert "models:/models:ro" in service["volumes"]
    assert service["depends_on"]["prepare"]["condition"] == "service_completed_successfully"
    drain_s = HttpSettings.model_fields["drain_timeout_ms"].default / 1e3
    assert float(service["stop_grace_period"].removesuffix("s")) > drain_s + 5
    assert service["read_only"] and service["cap_drop"] == ["ALL"]


def test_each_worker_of_a_distributed_load_sends_its_own_texts() -> None:
    # In a process of its own: Locust replaces parts of the standard library.
    code = """
import sys
from types import SimpleNamespace
from locustfiles.load_user import open_stream
options = SimpleNamespace(task="sentiment", workload="unique", seed=3)
for index in (0, 1):
    environment = SimpleNamespace(parsed_options=options, runner=SimpleNamespace(worker_index=index))
    open_stream(environment)
    print(next(environment.samples).text)
"""
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [next(stream("sentiment", "unique", seed)).text for seed in (3, 4)]


def test_ports_are_open_to_this_machine_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == len({port.split(":")[1] for port in ports}) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_prometheus_scrapes_the_servers_of_the_file() -> None:
    scrape = documents(DEPLOY / "prometheus" / "prometheus.yml")[0]["scrape_configs"][0]
    targets = {config["labels"]["server"]: config["targets"] for config in scrape["static_configs"]}
    assert targets == {server: [f"{server.replace('_', '-')}:8000"] for server in SERVERS}
    assert all(service_of(server) for server in SERVERS)
