"""A model is served from the files that were prepared, or not at all."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import SERVERS

from model_export.manifest import FORMAT, Manifest

Prepared = tuple[ModuleType, str, Path]


@pytest.fixture(params=SERVERS)
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> Prepared:
    """A server's module, a model's name, and a folder with small files in its place."""
    server = request.param
    name, weights = ("a/pytorch", "model.safetensors") if server == "baseline" else ("a/onnx", "model.onnx")
    module = importlib.import_module(f"{server}.web.model_files")
    contents = {weights: bytes(range(256)), "config.json": b"{}"}
    folder = tmp_path / name
    folder.mkdir(parents=True)
    files = {}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {"format": module.FORMAT, "artefacts": {name: {"files": files}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return module, name, tmp_path


def problem(prepared: Prepared) -> str | None:
    module, name, folder = prepared
    try:
        module.find_model_files(folder, name).verify()
    except module.ModelFilesError as error:
        return str(error)
    return None


def edit(prepared: Prepared, file: str, entry: Any) -> None:
    """Lists `file` in the manifest as `entry`."""
    _, name, folder = prepared
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["artefacts"][name]["files"][file] = entry
    path.write_text(json.dumps(manifest))


def entry_of(prepared: Prepared, file: str) -> Any:
    _, name, folder = prepared
    return json.loads((folder / "manifest.json").read_text())["artefacts"][name]["files"][file]


def largest(prepared: Prepared) -> Path:
    _, name, folder = prepared
    return max((folder / name).iterdir(), key=lambda path: path.stat().st_size)


def test_what_was_prepared_is_taken(prepared: Prepared) -> None:
    assert problem(prepared) is None


def test_a_file_swapped_after_preparation_is_refused(prepared: Prepared) -> None:
    weights = largest(prepared)
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    found = problem(prepared)
    assert found and weights.name in found and "damaged" in found and "\n" not in found
    assert f"`python optimize_model.py --output {prepared[2]}`" in found


def test_a_link_is_refused_whatever_it_leads_to(prepared: Prepared, tmp_path: Path) -> None:
    weights = largest(prepared)
    elsewhere = tmp_path / "elsewhere"
    weights.rename(elsewhere)
    weights.symlink_to(elsewhere)
    found = problem(prepared)
    assert found and weights.name in found and "outside its folder" in found


@pytest.mark.parametrize("path", ["../../elsewhere.json", "sub/elsewhere.json", "/etc/hostname", ".."])
def test_a_path_out_of_the_folder_is_refused(prepared: Prepared, tmp_path: Path, path: str) -> None:
    weights = largest(prepared)
    shutil.copy(weights, tmp_path / "elsewhere.json")
    edit(prepared, path, entry_of(prepared, weights.name))
    found = problem(prepared)
    assert found and "outside its folder" in found


@pytest.mark.parametrize("file", ["pytorch_model.pkl", "model.pt", "training_args.pickle", "modeling.py"])
def test_a_kind_of_file_that_can_run_code_is_refused(prepared: Prepared, file: str) -> None:
    weights = largest(prepared)
    shutil.copy(weights, weights.with_name(file))
    edit(prepared, file, entry_of(prepared, weights.name))
    found = problem(prepared)
    assert found and file in found and "not loaded" in found


@pytest.mark.parametrize("file", ["adapter_config.json", "pytorch_model.bin", "config.json~", "Thumbs.db"])
def test_a_file_that_the_manifest_does_not_list_is_refused(prepared: Prepared, file: str) -> None:
    largest(prepared).with_name(file).write_text("{}")
    found = problem(prepared)
    assert found and file in found and "not in the manifest; remove it" in found
    largest(prepared).with_name(file).unlink()
    assert problem(prepared) is None


def test_a_folder_that_the_manifest_does_not_list_is_refused(prepared: Prepared) -> None:
    largest(prepared).with_name("onnx").mkdir()
    found = problem(prepared)
    assert found and "/onnx is not in the manifest" in found


@pytest.mark.parametrize(
    "file", [".DS_Store", "._model.safetensors", ".gitignore", ".lock", ".config.json.swp"]
)
def test_a_hidden_file_is_passed_over(prepared: Prepared, file: str) -> None:
    largest(prepared).with_name(file).write_text("{")
    largest(prepared).with_name(".ipynb_checkpoints").mkdir()
    assert problem(prepared) is None


def test_a_hidden_file_that_the_manifest_lists_is_checked(prepared: Prepared) -> None:
    edit(prepared, ".config.json", entry_of(prepared, "config.json"))
    found = problem(prepared)
    assert found and ".config.json cannot be read" in found


DISTURBANCES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda folder: None,
    "a hidden file": lambda folder: (folder / ".DS_Store").touch(),
    "a hidden folder": lambda folder: (folder / ".git").mkdir(),
    "an editor's backup": lambda folder: (folder / "config.json~").touch(),
    "a folder": lambda folder: (folder / "checkpoint").mkdir(),
    "a file less": lambda folder: (folder / "config.json").unlink(),
    "a file cut short": lambda folder: (folder / "config.json").write_bytes(b"{"),
    "a file of another content": lambda folder: (folder / "config.json").write_bytes(b"[]"),
    "a folder in a file's place": lambda folder: [
        (folder / "config.json").unlink(),
        (folder / "config.json").mkdir(),
    ],
    "a link in a file's place": lambda folder: [
        (folder / "config.json").rename(folder / ".config.json"),
        (folder / "config.json").symlink_to(folder / ".config.json"),
    ],
}


@pytest.mark.parametrize("disturbance", DISTURBANCES)
def test_preparation_keeps_what_the_servers_would_load_and_nothing_else(
    prepared: Prepared, disturbance: str
) -> None:
    _, name, folder = prepared
    DISTURBANCES[disturbance](folder / name)
    intact = Manifest(folder).is_intact(name)
    assert intact == (problem(prepared) is None)
    assert intact == (disturbance in ("nothing", "a hidden file", "a hidden folder"))


def test_a_hidden_file_does_not_get_into_the_manifest(tmp_path: Path) -> None:
    with Manifest(tmp_path).publish("a/onnx", {}) as folder:
        (folder / "model.onnx").write_bytes(b"weights")
        (folder / ".DS_Store").touch()
    assert [*Manifest(tmp_path).artefacts["a/onnx"]["files"]] == ["model.onnx"]
    assert Manifest(tmp_path).is_intact("a/onnx")


@pytest.mark.parametrize("content", ["", "[]", "null", '{"format": 4}', f'{{"format": {FORMAT}}}'])
def test_a_manifest_that_lists_nothing_is_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    manifest = Manifest(tmp_path)
    assert manifest.source is None and not manifest.artefacts and not manifest.is_intact("a/onnx")
