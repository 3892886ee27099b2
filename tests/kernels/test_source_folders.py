"""Folders that models are read from: found in every layout that users have, and refused in one clear line."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from progress_lines import quiet
from safetensors.torch import load_file, save_file
from tiny_models import hub_cache, save_as_pickle, write_tiny

from model_export import folder_checks, verify
from model_export.errors import PreparationError
from model_export.manifest import TASKS, Manifest
from model_export.marian_graphs import build_decoder_step
from model_export.model_folders import HUB_REPOSITORIES, files_to_read, model_type, weights_of
from model_export.prepare import prepare
from model_export.pretrained import load_folder
from model_export.sources import load, model_folder, source_sha256

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
Damage = Callable[[Path], object]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return {task: write_tiny(task, folder / task) for task in TASKS}


@pytest.fixture
def models(tiny: dict[str, Path], tmp_path: Path) -> Path:
    """A folder with one model a task, to be changed."""
    for task, folder in tiny.items():
        shutil.copytree(folder, tmp_path / "models" / task)
    return tmp_path / "models"


def edit(path: Path, **entries: object) -> None:
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def refusal(task: str, source: Path) -> str:
    """Asserts that preparation from `source` ends in one line for the task, before any library's pages."""
    with pytest.raises(PreparationError) as caught:
        load(str(source), task, quiet)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("task", TASKS)
def test_a_tiny_model_is_read(models: Path, task: str) -> None:
    assert load(str(models), task, quiet).origin == f"local folder {task}"


@pytest.mark.parametrize("level", [".", "hub"])
@pytest.mark.parametrize("task", TASKS)
def test_a_hub_cache_gives_the_snapshot_that_main_names(
    tiny: dict[str, Path], tmp_path: Path, task: str, level: str
) -> None:
    hub_cache(tmp_path / level, tiny[task], HUB_REPOSITORIES[task], "aaa", "mmm", "zzz", main="mmm")
    found = model_folder(str(tmp_path), task)
    assert found and found.name == "mmm"
    assert load(str(tmp_path), task, quiet).origin.endswith("snapshots/mmm")


def test_a_snapshot_with_no_weights_is_passed_over(tiny: dict[str, Path], tmp_path: Path) -> None:
    repository = HUB_REPOSITORIES["translation"]
    place = hub_cache(tmp_path, tiny["translation"], repository, "aaa", "mmm", "zzz", main="mmm")
    (place / "snapshots/mmm/model.safetensors").unlink()
    weights = place / "snapshots/aaa/model.safetensors"
    weights.unlink()
    weights.symlink_to("no-such-blob")
    found = model_folder(str(tmp_path), "translation")
    assert found and found.name == "zzz"


def test_without_refs_the_newest_snapshot_is_taken(tiny: dict[str, Path], tmp_path: Path) -> None:
    place = hub_cache(tmp_path, tiny["sentiment"], HUB_REPOSITORIES["sentiment"], "aaa", "bbb", "ccc")
    for name, time_s in (("aaa", 1e9), ("bbb", 1.2e9), ("ccc", 1.1e9)):
        os.utime(place / "snapshots" / name, (time_s, time_s))
    found = model_folder(str(tmp_path), "sentiment")
    assert found and found.name == "bbb"


def test_a_cache_of_before_repositories_had_owners_is_understood(
    tiny: dict[str, Path], tmp_path: Path
) -> None:
    name = Path(HUB_REPOSITORIES["sentiment"]).name
    hub_cache(tmp_path, tiny["sentiment"], name, "abc", main="abc")
    assert model_folder(str(tmp_path), "sentiment") == tmp_path / f"models--{name}/snapshots/abc"


@pytest.mark.parametrize("layout", ["plain", "in a cache"])
@pytest.mark.parametrize("task", TASKS)
def test_the_folder_of_one_model_says_its_task_and_what_serves_the_other(
    tiny: dict[str, Path], tmp_path: Path, task: str, layout: str
) -> None:
    folder = tiny[task]
    if layout == "in a cache":
        folder = hub_cache(tmp_path, folder, "someone/another-model", "aaa", "bbb", main="aaa")
    other = next(one for one in TASKS if one != task)
    lines: list[str] = []
    assert load(str(folder), task, lines.append).model.num_parameters() < 1_000_000
    assert lines == []
    assert load(str(folder), other, lines.append).origin.startswith("embedded")
    assert lines == [f"{folder} has a model for {task} only; {other} is served with the embedded model"]
    assert source_sha256(str(folder), other) == source_sha256("embedded", other)


def test_a_folder_with_one_of_two_models_says_which_is_missing_and_where(models: Path) -> None:
    shutil.rmtree(models / "sentiment")
    found = refusal("sentiment", models)
    assert "holds no sentiment model" in found and "hub/models--distilbert--" in found


@pytest.mark.parametrize(
    ("others", "weights"),
    [
        (["pytorch_model.bin", "tf_model.h5"], ["model.safetensors"]),
        (["rust_model.ot", "onnx/model.safetensors"], ["pytorch_model.bin"]),
        (["pytorch_model.bin"], ["model-1.safetensors", "model-2.safetensors"]),
    ],
)
def test_one_kind_of_weights_is_read(others: list[str], weights: list[str]) -> None:
    names = [*others, *weights, "config.json", "README.md", "source.spm", "onnx/config.json"]
    assert files_to_read(names) == [*weights, "config.json", "source.spm"]


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_the_hubs_older_format_is_read(models: Path, task: str, as_zip: bool) -> None:
    before = load(str(models), task, quiet).model.state_dict()
    save_as_pickle(models / task, as_zip=as_zip)
    after = load(str(models), task, quiet).model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_would_run_code_runs_none(models: Path, tmp_path: Path, protocol: int) -> None:
    (models / "translation/model.safetensors").unlink()
    weights = {"model.shared.weight": Malicious(tmp_path / "was-here")}
    (models / "translation/pytorch_model.bin").write_bytes(pickle.dumps(weights, protocol=protocol))
    assert "translation/pytorch_model.bin cannot be loaded" in refusal("translation", models)
    torch.save(weights, models / "translation/pytorch_model.bin")
    assert "translation/pytorch_model.bin cannot be loaded" in refusal("translation", models)
    assert not (tmp_path / "was-here").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without(path: Path, key: str) -> None:
    weights = load_file(path)
    del weights[key]
    save_file(weights, path, metadata={"format": "pt"})


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: list[tuple[str, str, Damage, str]] = [
    ("translation", "source.spm", Path.unlink, "source.spm is missing"),
    ("translation", "target.spm", Path.unlink, "target.spm is missing"),
    ("translation", "vocab.json", Path.unlink, "vocab.json is missing"),
    ("translation", "source.spm", lambda path: path.write_text(""), "source.spm is empty"),
    ("translation", "source.spm", lambda path: path.write_text("no model"), "source.spm is damaged or no"),
    ("translation", "target.spm", cut, "target.spm is damaged or no SentencePiece model"),
    ("translation", "target.spm", into_folder, "target.spm is a folder, expected a file"),
    ("translation", "vocab.json", lambda path: path.write_text("[]"), "vocab.json holds a JSON list"),
    ("translation", "vocab.json", lambda path: path.write_text("{}"), "vocab.json lacks </s>, <unk>, <pad>"),
    ("translation", "vocab.json", lambda path: edit(path, **{"</s>": None}), "vocab.json lacks </s>"),
    ("translation", "vocab.json", lambda path: edit(path, word="7"), "the id of 'word' is '7'"),
    ("translation", "vocab.json", lambda path: edit(path, word=8_001), "the tokenizer has the id 8,001"),
    (
        "translation",
        "tokenizer_config.json",
        lambda path: edit(path, extra_special_tokens=[]),
        "tokenizer_config.json: extra_special_tokens is a list, expected an object",
    ),
    (
        "translation",
        "tokenizer_config.json",
        lambda path: edit(path, separate_vocabs=True),
        "separate_vocabs is true",
    ),
    ("sentiment", "tokenizer_config.json", lambda path: path.write_text("{"), "_config.json is not JSON"),
    ("sentiment", "tokenizer.json", cut, "tokenizer.json is not JSON"),
    ("sentiment", "tokenizer.json", lambda path: path.write_text("{}"), "cannot be loaded as a tokenizer"),
    ("translation", "config.json", cut, "config.json is not JSON"),
    ("translation", "config.json", lambda path: path.write_bytes(b"\xff"), "config.json is not JSON"),
    ("translation", "config.json", lambda path: path.write_text('"marian"'), "holds a JSON str"),
    ("translation", "config.json", lambda path: path.write_text(""), "config.json is empty"),
    ("translation", "config.json", into_folder, "config.json is a folder"),
    (
        "translation",
        "config.json",
        lambda path: edit(path, model_type="t5"),
        "config.json: model_type is 't5', translation is served with marian",
    ),
    (
        "sentiment",
        "config.json",
        lambda path: edit(path, model_type="roberta"),
        "model_type is 'roberta', sentiment is served with distilbert or bert",
    ),
    (
        "translation",
        "config.json",
        lambda path: edit(path, activation_function="gelu_new"),
        "config.json: activation_function 'gelu_new' is not supported; translation is served with swish or",
    ),
    ("sentiment", "config.json", lambda path: edit(path, activation="relu"), "activation 'relu' is not supp"),
    (
        "translation",
        "config.json",
        lambda path: edit(path, share_encoder_decoder_embeddings=False),
        "share_encoder_decoder_embeddings False is not supported; translation is served with one vocabulary",
    ),
    (
        "translation",
        "config.json",
        lambda path: edit(path, tie_word_embeddings=False),
        "tie_word_embeddings False is not supported",
    ),
    (
        "translation",
        "config.json",
        lambda path: edit(path, decoder_vocab_size=9_000),
        "decoder_vocab_size 9000 with vocab_size 8001 is not supported",
    ),
    ("translation", "config.json", lambda path: edit(path, eos_token_id=8_001), "eos_token_id is 8001"),
    ("translation", "config.json", lambda path: edit(path, d_model="wide"), "d_model is 'wide'"),
    (
        "translation",
        "config.json",
        lambda path: edit(path, decoder_attention_heads=4),
        "16 over 4 heads",
    ),
    ("sentiment", "config.json", lambda path: edit(path, n_heads=16), "16 over 16 heads is not supported"),
    (
        "sentiment",
        "config.json",
        lambda path: edit(path, id2label={"0": "LABEL_0", "1": "LABEL_1"}),
        "config.json: id2label ['LABEL_0', 'LABEL_1'] is not supported",
    ),
    ("translation", "config.json", lambda path: edit(path, d_model=32), "model.safetensors cannot be loaded"),
    ("translation", "model.safetensors", Path.unlink, "has no weights: neither model.safetensors nor"),
    (
        "translation",
        "model.safetensors",
        lambda path: path.rename(path.with_name("tf_model.h5")),
        "has no weights: neither model.safetensors nor pytorch_model.bin, and tf_model.h5 is not read",
    ),
    ("translation", "model.safetensors", lambda path: path.write_text(""), "model.safetensors is empty"),
    ("translation", "model.safetensors", into_folder, "model.safetensors is a folder"),
    ("translation", "model.safetensors", cut, "model.safetensors is damaged or incomplete"),
    (
        "sentiment",
        "model.safetensors",
        lambda path: path.write_text("no weights"),
        "is damaged or incomplete",
    ),
    (
        "translation",
        "model.safetensors",
        lambda path: path.rename(path.with_name("pytorch_model.bin")),
        "pytorch_model.bin cannot be loaded",
    ),
    (
        "sentiment",
        "model.safetensors",
        lambda path: without(path, "classifier.bias"),
        "lacks classifier.b",
    ),
    *(
        (task, name, lambda path: path.write_text(LFS_POINTER), f"{name} is a Git LFS pointer")
        for task, name in (
            ("translation", "model.safetensors"),
            ("translation", "source.spm"),
            ("translation", "vocab.json"),
            ("sentiment", "config.json"),
            ("sentiment", "tokenizer.json"),
        )
    ),
]


@pytest.mark.parametrize(("task", "name", "damage", "message"), FAULTS)
def test_a_fault_of_a_folder_is_one_line_with_the_file(
    models: Path, task: str, name: str, damage: Damage, message: str
) -> None:
    damage(models / task / name)
    found = refusal(task, models)
    assert message in found and str(models / task) in found


def test_a_model_of_another_kind_by_itself_is_refused(tiny: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(tiny["sentiment"], tmp_path / "model")
    edit(folder / "config.json", model_type="t5")
    assert "model_type is 't5', served are marian for translation" in refusal("translation", folder)


@pytest.mark.parametrize("activation", folder_checks.ACTIVATIONS["translation"])
def test_what_is_said_to_be_supported_can_be_exported(tmp_path: Path, activation: str) -> None:
    folder = write_tiny("translation", tmp_path / "model", activation_function=activation)
    assert build_decoder_step(load_folder("translation", folder, "").model).graph.node


@given(content=st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=3))
def test_a_configuration_that_is_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(PreparationError):
        model_type(folder)


def test_a_folder_that_is_saved_again_is_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TEXTS", 8)
    for task in TASKS:
        shutil.copytree(EMBEDDED / task / "pytorch", tmp_path / "source" / task)
    lines: list[str] = []

    def run() -> Manifest:
        lines.clear()
        return prepare(str(tmp_path / "source"), tmp_path / "models", force=False, print_line=lines.append)

    run()
    run()
    assert "nothing to do" in lines[-1]
    path = tmp_path / "source/sentiment/model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"] += 0.01
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    save_file(weights, path, metadata={"format": "pt"})
    os.utime(path, ns=times)
    manifest = run()
    assert "sentiment/pytorch: the source has changed, preparing it again" in lines
    assert "translation/pytorch: up to date, kept" in lines
    written = load_file(tmp_path / "models/sentiment/pytorch/model.safetensors")
    assert torch.equal(written["classifier.bias"], weights["classifier.bias"])
    assert manifest.is_intact("sentiment/onnx")
    run()
    assert "nothing to do" in lines[-1]

    # The tokenizer alone: the weights stay, and both artefacts follow.
    edit(tmp_path / "source/translation/vocab.json", **{"▁the": 5, "▁The": 5})
    before = manifest.artefacts["translation/onnx"]["files"]["vocab.json"]
    assert run().artefacts["translation/onnx"]["files"]["vocab.json"] != before


def test_the_digest_is_of_what_is_read(models: Path) -> None:
    before = {task: source_sha256(str(models), task) for task in TASKS}
    (models / "translation/README.md").write_text("Two models.")
    assert {task: source_sha256(str(models), task) for task in TASKS} == before
    edit(models / "translation/config.json", num_beams=7)
    assert source_sha256(str(models), "translation") != before["translation"]
    assert source_sha256(str(models), "sentiment") == before["sentiment"]
    assert weights_of(models / "sentiment") == ["model.safetensors"]


def test_a_source_that_does_not_load_costs_nothing_that_is_served(models: Path, tmp_path: Path) -> None:
    output = shutil.copytree(EMBEDDED, tmp_path / "output")
    before = (output / "manifest.json").read_bytes()
    cut(models / "translation/model.safetensors")
    with pytest.raises(PreparationError):
        prepare(str(models), output, force=False, print_line=quiet)
    assert (output / "manifest.json").read_bytes() == before
