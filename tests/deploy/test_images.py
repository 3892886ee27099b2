"""The images: each installs what its code imports and no more, runs without root, and stops as it should."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from checkout import ROOT
from conftest import SERVERS
from deploy_files import DEPLOY, group, imported, normalized, stages
from packaging.requirements import Requirement

# Loaded by name, or only where they are there.
NOT_IMPORTED = {
    "uvloop": "uvicorn's event loop",
    "sacremoses": "transformers' Marian tokenizer",
    "optimum": "optimum-onnx is a part of it",
}
PYTORCH_TOKENIZER = {"sentencepiece"}
STARTS = {
    **{name: sorted((ROOT / name).rglob("*.py")) for name in SERVERS},
    "prepare": [ROOT / "optimize_model.py"],
    "locust": [ROOT / "locustfiles" / "closed_loop.py", ROOT / "locustfiles" / "open_loop.py"],
}
# Read as files, not imported.
DATA = {"prepare": {"kernels", "embedded_models"}}
STAGES = stages()
FINAL = [*STARTS, *(f"{name}-with-models" for name in SERVERS)]


def unlisted(packages: set[str], listed: set[str]) -> set[str]:
    """The imported packages that no listed distribution provides."""
    provided = packages_distributions()
    return {one for one in packages if not {*map(normalized, provided.get(one, [one]))} & listed}


def closure(names: set[str]) -> set[str]:
    """Distributions with all that they need here, extras aside."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for needed in map(Requirement, requires(name) or []):
                if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                    waiting.append(normalized(needed.name))
    return found


@pytest.mark.parametrize("name", STARTS)
def test_an_image_installs_what_its_code_imports(name: str) -> None:
    packages, _ = imported(STARTS[name])
    listed = group(name)
    assert not unlisted(packages, listed)
    provided = packages_distributions()
    used = {normalized(one) for package in packages for one in provided.get(package, [])}
    spare = listed - used - {*NOT_IMPORTED} - (PYTORCH_TOKENIZER if name == "baseline" else set())
    assert not spare, "it is installed for nothing"
    installs = [text for word, text in STAGES[name] if word == "RUN" and f"--group {name}" in text]
    assert len(installs) == 1 and "--constraint constraints.txt" in installs[0]


def test_the_check_sees_what_is_missing() -> None:
    packages, _ = imported(STARTS["dynamic_batching"])
    assert unlisted(packages, group("dynamic_batching") - {"onnxruntime"}) == {"onnxruntime"}
    assert unlisted(packages | {"torch"}, group("dynamic_batching")) == {"torch"}


@pytest.mark.parametrize("name", ["optimized", "dynamic_batching"])
def test_an_onnx_server_carries_no_pytorch(name: str) -> None:
    needed = closure(group(name))
    assert {"onnxruntime", "starlette"} <= needed
    assert not needed & {"torch", "transformers", "onnx", "optimum"}
    assert "torch" in closure(group("baseline"))


def test_every_package_of_an_image_has_a_version() -> None:
    pinned = {
        normalized(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    assert closure({*group("baseline"), *group("prepare"), *group("locust"), *group("optimized")}) <= pinned


@pytest.mark.parametrize("name", STARTS)
def test_an_image_holds_the_code_that_it_runs(name: str) -> None:
    _, files = imported(STARTS[name])
    needed = {path.relative_to(ROOT).parts[0] for path in files} | DATA.get(name, set())
    copied = {source for word, text in STAGES[name] if word == "COPY" for source in text.split()[:-1]}
    assert copied == needed | {"constraints.txt", "pyproject.toml"}
    let_in = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert copied <= let_in and all((ROOT / one).exists() for one in let_in)


@pytest.mark.parametrize("name", FINAL)
def test_an_image_runs_without_root_and_as_one_process_that_gets_signals(name: str) -> None:
    found = dict(STAGES[name])  # the last of each instruction
    assert found["USER"].isdecimal() and found["USER"] != "0"
    command = json.loads(found["ENTRYPOINT"])  # a shell in between would keep signals from the server
    server = name.removesuffix("-with-models")
    if server in SERVERS:
        assert command == ["python", "-m", server, "--host", "0.0.0.0", "--port", "8000"]
        assert found["STOPSIGNAL"] == "SIGTERM" and found["EXPOSE"] == "8000"
        check = json.loads(found["HEALTHCHECK"].partition(" CMD ")[2])
        assert check[0] == "python" and "/ready" in check[2]
        compile(check[2], "health check", "exec")
    assert not [text for word, text in STAGES[name] if word == "ADD"]


@pytest.mark.parametrize("name", SERVERS)
def test_an_image_with_models_holds_its_own_alone(name: str) -> None:
    kind = "pytorch" if name == "baseline" else "onnx"
    copied = [text.split()[2:] for word, text in STAGES[f"{name}-with-models"] if "--from=models" in text]
    folders = [f"/models/{task}/{kind}" for task in ("translation", "sentiment")]
    assert copied == [["/models/manifest.json", "/models/"], *([one, one] for one in folders)]


def test_the_dockerfile_passes_its_linter() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("`make test-deploy` installs hadolint")
    ended = subprocess.run([linter, DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    refused = subprocess.run(
        [linter, "-"], input="FROM python\nRUN cd /\nCMD python", capture_output=True, text=True
    )
    assert refused.returncode and "DL3006" in refused.stdout
