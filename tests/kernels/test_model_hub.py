"""The way to the model hub over HTTP, against a hub of one's own: downloads, refusals, and what is cached."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import EMBEDDED
from stub_hub import REVISION, StubHub, stub_hub
from tiny_models import save_as_pickle, write_tiny

from benchmark.charts.caption import model
from benchmark.runs.environment import ROOT
from model_export import sources
from model_export.hub import Problem
from model_export.manifest import TASKS, Manifest
from model_export.model_folders import HUB_REPOSITORIES

# HF_ENDPOINT and the like are read as the hub client is imported.
SCRIPT = """
import json, sys
from model_export.errors import PreparationError
from model_export.sources import load, resolve
found = {"lines": []}
try:
    resolved = resolve(sys.argv[1])
    found |= {"source": resolved.source, "line": resolved.line, "fallback": resolved.fallback}
    loaded = [load(resolved.source, task, found["lines"].append) for task in sys.argv[2:]]
    found["origins"] = [one.origin for one in loaded]
except PreparationError as error:
    found["error"] = str(error)
print(json.dumps(found))
"""
TRANSLATION = HUB_REPOSITORIES["translation"]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both repositories as the hub has them: more kinds of weights than one, and files that nobody reads."""
    root = tmp_path_factory.mktemp("hub")
    for task, repository in HUB_REPOSITORIES.items():
        folder = write_tiny(task, root / repository)
        for name in ("README.md", "rust_model.ot", "tf_model.h5", "onnx/model.onnx", "onnx/config.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("not read")
    (root / HUB_REPOSITORIES["sentiment"] / "pytorch_model.bin").write_text("not read")
    save_as_pickle(root / TRANSLATION, as_zip=False)
    return root


@pytest.fixture
def hub(repositories: Path) -> Iterator[StubHub]:
    with stub_hub(repositories) as hub:
        yield hub


@pytest.fixture
def environment(hub: StubHub, tmp_path: Path) -> dict[str, str]:
    """What a process sees whose hub is the stub, with nothing cached yet and a token of its user."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_expired"}
    return {**own, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def run(environment: dict[str, str], source: str, *tasks: str) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT, source, *tasks]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_models_are_downloaded_with_one_kind_of_weights_and_cached(
    hub: StubHub, environment: dict[str, str]
) -> None:
    found = run(environment, "auto", *TASKS)
    revision = REVISION[:12]
    assert found["source"] == "hub" and found["fallback"] is None
    assert found["origins"] == [f"{HUB_REPOSITORIES[task]}@{revision}" for task in TASKS]
    assert found["lines"] == []
    weights = sorted(name for name in hub.downloads if "model." in name)
    assert weights == ["model.safetensors", "pytorch_model.bin"], "one of each repository"
    assert not {"README.md", "rust_model.ot", "tf_model.h5"} & {*hub.downloads}
    assert hub.downloads.count("config.json") == 2

    # From here on the cache serves, whatever keeps the hub from it.
    hub.downloads.clear()
    hub.refuse = {True: 401, False: 401}
    offline = run({**environment, "HF_HUB_OFFLINE": "1"}, "auto", "translation")
    refused = run(environment, "auto")
    absent = run({**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}, "hub", "sentiment")
    assert offline["source"] == refused["source"] == absent["source"] == "hub"
    assert "HF_HUB_OFFLINE is set" in offline["line"] and "from its cache" in offline["line"]
    assert "401 Unauthorized" in refused["line"]
    assert "hub did not answer (ConnectionError)" in absent["lines"][0]
    assert [one["origins"][0].partition("@")[2] for one in (offline, absent)] == [revision] * 2
    assert hub.downloads == []

    # A download that was broken off left no weights: there is nothing to serve.
    folder = Path(environment["HF_HOME"], "hub", f"models--{TRANSLATION.replace('/', '--')}")
    (folder / "snapshots" / REVISION / "pytorch_model.bin").unlink()
    broken = run(environment, "auto")
    assert broken["source"] == "embedded" and broken["fallback"] == "the hub answered 401 Unauthorized"
    error = run(environment, "hub", "translation")["error"]
    assert f"{TRANSLATION} cannot be downloaded: the hub answered 401 Unauthorized" in error
    assert "\n" not in error and "--source embedded" in error


def test_an_expired_token_is_named_and_the_remedy_helps(hub: StubHub, environment: dict[str, str]) -> None:
    hub.refuse = {True: 401}
    found = run(environment, "auto")
    assert found["source"] == "embedded" and found["fallback"] == "the hub answered 401 Unauthorized"
    assert "the access token is expired or wrong" in found["line"]
    remedy = "HF_HUB_DISABLE_IMPLICIT_TOKEN"
    assert f"{remedy}=1" in found["line"]
    assert run({**environment, remedy: "1"}, "auto")["source"] == "hub"


@pytest.mark.parametrize(
    ("status", "gated", "reason"),
    [
        (403, False, "the hub answered 403 Forbidden (the access token may not read this model)"),
        (403, True, "the hub answered 403: the model is gated (request access on its page; set HF_TOKEN)"),
        (404, False, "the hub answered 404"),
        (503, False, "the hub answered 503"),
    ],
)
def test_a_refusal_is_named(
    hub: StubHub, environment: dict[str, str], status: int, gated: bool, reason: str
) -> None:
    hub.refuse, hub.gated = {True: status, False: status}, gated
    found = run(environment, "auto")
    assert found["source"] == "embedded" and found["line"] == f"source: embedded, since {reason}"
    assert found["fallback"] == reason.partition(" (")[0]


# The embedded models instead of the hub's


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The embedded models, prepared because they were asked for."""
    folder = shutil.copytree(EMBEDDED, tmp_path / "models")
    Manifest(folder).set_fallback(None)
    return folder


def optimize(models: Path, source: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(models.parent / "no-home")}
    command = [sys.executable, "optimize_model.py", "--source", source, "--output", str(models)]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def test_the_fallback_cannot_be_missed(models: Path) -> None:
    artefacts = Manifest(models).artefacts
    assert "embedded translation-en-de" in model(artefacts["translation/pytorch"])
    for _ in range(2):
        output = optimize(models, "auto")
        assert "nothing to do" in output
        assert output.splitlines()[-1].startswith("warning: ")
        assert "the small embedded models, not the hub's, since HF_HUB_OFFLINE is set" in output
        for artefact in Manifest(models).artefacts.values():
            assert model(artefact).endswith(", embedded models (HF_HUB_OFFLINE is set)")
    output = optimize(models, "embedded")
    assert "nothing to do" in output and "warning" not in output
    assert Manifest(models).artefacts == artefacts


def test_the_next_run_of_auto_asks_the_hub_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from model_export import prepare

    class Asked(Exception):
        pass

    def load(source: str, task: str, print_line: object) -> None:
        raise Asked(source)

    monkeypatch.setattr(prepare, "load", load)
    monkeypatch.setattr(sources, "hub_problem", lambda: Problem("the hub did not answer"))
    monkeypatch.setattr(sources, "cached_model", lambda task: None)
    lines: list[str] = []
    manifest = prepare.prepare("auto", models, force=False, print_line=lines.append)
    assert manifest.fallback == "the hub did not answer" and "nothing to do" in lines[-1]
    monkeypatch.setattr(sources, "hub_problem", lambda: None)
    with pytest.raises(Asked, match="hub"):
        prepare.prepare("auto", models, force=False, print_line=lines.append)
    assert Manifest(models).source == "embedded", "what is there is kept until the hub's is there"
