"""The manifests: the schemas of Kubernetes accept them, and they fit what the servers have."""

import copy
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from checkout import ROOT
from conftest import SERVERS
from deploy_files import DEPLOY, documents, known_variables, stages

FOLDER = DEPLOY / "kubernetes"
# The oldest release that is meant and the newest schemas there are.
RELEASES = ("1.30", "1.37")
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
BASE = {one["kind"]: one for one in documents(FOLDER / "base" / "server.yaml")}
POD = BASE["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def check(document: dict[str, Any]) -> None:
    """Raises the validator's error where a schema refuses a document."""
    validator = pytest.importorskip("kubernetes_validate", reason="`make test-deploy` installs it")
    for release in RELEASES:
        validator.validate(document, release, strict=True)


def built(server: str) -> list[dict[str, Any]]:
    """What Kustomize makes of a server's folder."""
    tool = shutil.which("kustomize"), shutil.which("kubectl")
    if not any(tool):
        pytest.skip("there is neither kustomize nor kubectl")
    command = [tool[0], "build"] if tool[0] else [tool[1], "kustomize"]
    ended = subprocess.run([*command, FOLDER / server], capture_output=True, text=True)  # type: ignore[list-item]
    assert ended.returncode == 0, ended.stderr
    return [*yaml.safe_load_all(ended.stdout)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schemas_accept_every_manifest(path: Any) -> None:
    for document in documents(path):
        check(document)


def test_the_schemas_refuse_a_wrong_manifest() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="`make test-deploy` installs it")
    for place, value in (("terminationGracePeriodSecond", 30), ("terminationGracePeriodSeconds", "30 s")):
        wrong = copy.deepcopy(BASE["Deployment"])
        wrong["spec"]["template"]["spec"][place] = value
        with pytest.raises(validator.ValidationError):
            check(wrong)


@pytest.mark.parametrize("server", SERVERS)
def test_what_kustomize_builds_is_valid_and_whole(server: str) -> None:
    made = built(server)
    for document in made:
        check(document)
    named = {(one["kind"], one["metadata"]["name"]): one for one in made}
    prefix = server.replace("_", "-")
    deployment = named["Deployment", f"{prefix}-server"]["spec"]
    labels = {"app.kubernetes.io/name": server, "app.kubernetes.io/part-of": "inference-gap"}
    assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"] == labels
    assert named["Service", f"{prefix}-server"]["spec"]["selector"] == labels
    assert named["PodDisruptionBudget", f"{prefix}-server"]["spec"]["selector"]["matchLabels"] == labels
    container = deployment["template"]["spec"]["containers"][0]
    image = container["image"].removeprefix("inference-gap/").removesuffix(":latest")
    assert image in stages()
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert {*variables} <= known_variables(server)
    if server == "optimized":
        host = variables["GAP_REDIS_URL"].removeprefix("redis://").partition(":")[0]
        assert ("Service", host) in named
    if server == "dynamic_batching":
        target = named["HorizontalPodAutoscaler", f"{prefix}-server"]["spec"]["scaleTargetRef"]
        assert target["name"] == f"{prefix}-server" and "replicas" not in deployment
    else:
        assert deployment["replicas"] >= 2, "a disruption budget needs another pod"


def test_probes_ask_routes_that_the_servers_have() -> None:
    source = (ROOT / "dynamic_batching" / "web" / "app.py").read_text()
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = CONTAINER[probe]["httpGet"]
        assert f'@app.get("{get["path"]}"' in source and ports[get["port"]] == 8000
    # A server that drains or replaces a worker is not ready, but alive.
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/health"


def test_a_pod_has_time_for_its_pause_and_its_drain() -> None:
    pause_s = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    variables = {one["name"]: one["value"] for one in CONTAINER["env"]}
    drain_s = int(variables["GAP_DRAIN_TIMEOUT_MS"]) / 1e3
    assert POD["terminationGracePeriodSeconds"] >= pause_s + drain_s + 5


def test_the_cpu_limit_is_a_whole_number_which_the_threads_follow() -> None:
    limits, requests = CONTAINER["resources"]["limits"], CONTAINER["resources"]["requests"]
    assert limits == requests and limits["cpu"].isdecimal()
    assert "GAP_THREADS" not in {one["name"] for one in CONTAINER["env"]}, "it follows the limit by itself"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_pod_runs_as_root_or_may_become_it(path: Any) -> None:
    for document in documents(path):
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"]
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
                assert context["allowPrivilegeEscalation"] is False
