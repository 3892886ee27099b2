"""A model is served from the files that were prepared, or not at all."""

import hashlib
import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import SERVERS

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


@pytest.mark.parametrize("file", ["adapter_config.json", "pytorch_model.bin"])
def test_a_file_that_the_manifest_does_not_list_is_refused(prepared: Prepared, file: str) -> None:
    largest(prepared).with_name(file).write_text("{}")
    found = problem(prepared)
    assert found and file in found and "not in the manifest" in found
