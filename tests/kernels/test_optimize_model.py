"""Preparation: every source gives loadable artefacts, and what was damaged or interrupted is made again."""

import copy
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rich
import rich.progress
import torch
from conftest import EMBEDDED, native_kernels
from progress_lines import quiet
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, MarianConfig

from benchmark.runs.environment import ROOT
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.sequence import Sequence
from dynamic_batching.web.model_files import find_model_files
from model_export import hub, onnx_export, quality_checks, random_weights, sources, verify
from model_export.errors import PreparationError
from model_export.kernels import Kernels, choose_kernels
from model_export.manifest import Manifest, sha256_of
from model_export.onnx_export import build, write_onnx
from model_export.prepare import prepare
from model_export.pretrained import load_folder
from model_export.progress import track
from model_export.random_weights import make_random

REPOSITORIES = sources.HUB_REPOSITORIES


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verification as it is, on fewer texts: what it finds out is tested on the prepared models."""
    monkeypatch.setattr(verify, "TEXTS", 8)


def hub_layout(root: Path) -> Path:
    """A folder as the hub's repositories would lie in it, from the prepared embedded models."""
    for task, repository in REPOSITORIES.items():
        shutil.copytree(EMBEDDED / task / "pytorch", root / repository)
    return root


def test_a_local_folder_in_hub_layout_is_prepared(tmp_path: Path) -> None:
    manifest = prepare(str(hub_layout(tmp_path / "hub")), tmp_path / "models", force=False, print_line=quiet)
    assert all(manifest.is_intact(f"{task}/{kind}") for task in REPOSITORIES for kind in ("pytorch", "onnx"))
    translation = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "models/translation/pytorch")
    assert translation.dtype == torch.float32
    sentiment = AutoModelForSequenceClassification.from_pretrained(tmp_path / "models/sentiment/pytorch")
    assert set(sentiment.config.id2label.values()) == {"POSITIVE", "NEGATIVE"}
    assert manifest.artefacts["translation/onnx"]["target_language"] == "de"
    assert str(tmp_path) not in manifest.path.read_text()


def test_the_hub_is_read_by_the_same_path_also_in_its_older_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = hub_layout(tmp_path / "hub")
    folder = root / REPOSITORIES["translation"]
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    asked = []

    def download(task: str, print_line: object) -> Path:
        asked.append(task)
        return root / REPOSITORIES[task]

    monkeypatch.setattr(sources, "download", download)
    manifest = prepare("hub", tmp_path / "models", force=False, print_line=quiet)
    assert asked == list(REPOSITORIES)
    assert manifest.artefacts["translation/pytorch"]["origin"].startswith(REPOSITORIES["translation"])
    written = load_file(tmp_path / "models/translation/pytorch/model.safetensors")
    assert weights.keys() == written.keys()
    assert all(torch.equal(weights[name], written[name]) for name in weights)


@pytest.mark.parametrize("answers", [True, False])
def test_auto_takes_the_hub_only_where_it_answers(monkeypatch: pytest.MonkeyPatch, answers: bool) -> None:
    def model_info(self: object, repository: str, *, timeout: float) -> None:
        assert timeout <= 5
        if not answers:
            raise ConnectionError

    monkeypatch.setattr(hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(sources, "cached_model", lambda task: None)
    resolved = sources.resolve("auto")
    assert resolved.source == ("hub" if answers else "embedded")
    assert (resolved.fallback is None) == answers
    assert resolved.source in resolved.line and "\n" not in resolved.line


@pytest.mark.parametrize("damage", ["changed", "removed", "surplus", "no manifest", "interrupted"])
def test_damage_is_noticed_and_mended(tmp_path: Path, damage: str) -> None:
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    weights = models / "translation/pytorch/model.safetensors"
    before = sha256_of(weights)
    if damage == "changed":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif damage == "removed":
        weights.unlink()
    elif damage == "surplus":
        (weights.parent / "model.safetensors~").write_bytes(b"")
    elif damage == "no manifest":
        (models / "manifest.json").write_text('{"format": 1, "sour')
    else:
        manifest = Manifest(models)
        with pytest.raises(KeyboardInterrupt), manifest.publish("translation/pytorch", {}) as folder:
            (folder / "model.safetensors").write_bytes(b"half")
            raise KeyboardInterrupt
        assert Manifest(models).is_intact("translation/pytorch"), "the last good artefact stays"
    lines: list[str] = []
    prepare("embedded", models, force=False, print_line=lines.append)
    assert sha256_of(weights) == before
    assert Manifest(models).is_intact("translation/pytorch")
    assert any("damaged" in line for line in lines) == (damage in ("changed", "removed", "surplus"))


def test_what_is_whole_is_kept(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    (models / "translation/pytorch/.DS_Store").touch()
    before = (models / "translation/pytorch/config.json").stat().st_mtime_ns
    lines: list[str] = []
    prepare("embedded", models, force=False, print_line=lines.append)
    assert any("nothing to do" in line for line in lines)
    assert (models / "translation/pytorch/config.json").stat().st_mtime_ns == before


def test_the_languages_are_recorded_also_in_what_was_prepared_before_they_were(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    content = json.loads((models / "manifest.json").read_text())
    for artefact in content["artefacts"].values():
        artefact.pop("target_language", None)
    (models / "manifest.json").write_text(json.dumps(content))
    before = sha256_of(models / "translation/pytorch/config.json")
    prepare("embedded", models, force=False, print_line=quiet)
    for name in ("translation/pytorch", "translation/onnx"):
        files = find_model_files(models, name)
        assert files.languages == ("en", "de")
        files.verify()
    assert sha256_of(models / "translation/pytorch/config.json") == before
    assert find_model_files(models, "sentiment/onnx").languages == ("und", "und")


def test_random_weights_have_the_hub_models_size_and_are_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sentiment = make_random("sentiment")
    assert sentiment.model.num_parameters() == 66_955_010 and not sentiment.trained
    asked: list[MarianConfig] = []
    real = random_weights.MarianMTModel

    def small(config: MarianConfig) -> object:
        asked.append(config)
        narrow = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 58_101}
        return real(MarianConfig(**{**config.to_dict(), **narrow}))

    monkeypatch.setattr(random_weights, "MarianMTModel", small)
    first, second = (make_random("translation").model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    shape = asked[0]
    assert (shape.encoder_layers, shape.decoder_layers, shape.d_model) == (6, 6, 512)
    assert (shape.encoder_ffn_dim, shape.vocab_size) == (2048, 58_101)


def test_random_translation_cuts_text_like_natural_text() -> None:
    tokenizer = random_weights.make_marian().tokenizer
    text = "Two dogs are playing in the snow."
    ids = tokenizer(text).input_ids
    assert 7 <= len(ids) <= 12
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.decode([40_000]) == "w40000"
    assert len(tokenizer) == 58_101


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", '{"model_type": "marian"', "config.json is not JSON"),
        ("config.json", '{"model_type": "bert"}', "model_type is 'bert'"),
        ("model.safetensors", "not weights", "is damaged or incomplete"),
    ],
)
def test_a_folder_that_is_no_model_is_a_clear_error(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    root = hub_layout(tmp_path)
    (root / REPOSITORIES["translation"] / name).write_text(content)
    with pytest.raises(PreparationError, match=message) as caught:
        prepare(str(root), tmp_path / "models", force=False, print_line=quiet)
    assert "\n" not in str(caught.value)


def test_a_folder_without_the_models_names_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="opus-mt-en-de"):
        prepare(str(tmp_path), tmp_path / "models", force=False, print_line=quiet)


def test_command_line_errors_are_one_line_and_lose_nothing(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    before = json.loads((models / "manifest.json").read_text())
    command = [sys.executable, "optimize_model.py", "--source", "no-such-source", "--output", str(models)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "no-such-source" in ended.stdout and "Traceback" not in ended.stdout + ended.stderr
    assert json.loads((models / "manifest.json").read_text()) == before


def test_preparation_prints_its_steps_and_no_warnings(tmp_path: Path) -> None:
    root = hub_layout(tmp_path / "hub")
    config = root / REPOSITORIES["translation"] / "config.json"
    of_generation = {"num_beams": 4, "max_length": 512, "bad_words_ids": [[7]]}
    config.write_text(json.dumps(json.loads(config.read_text()) | of_generation))
    command = [sys.executable, "optimize_model.py", "--source", str(root), "--no-quality-check"]
    command += ["--output", str(tmp_path / "models"), "--kernels", "onnxruntime"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stderr == ""
    steps = ended.stdout.partition(f"{tmp_path}/models/ (")[0].splitlines()
    assert all(line.startswith(("source: ", "kernels: ", "translation/", "sentiment/")) for line in steps)
    assert ended.stdout.count("not checked") == 2


def test_no_text_is_translated_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "TEXTS", 110)
    asked: list[tuple[str, ...]] = []
    decode = quality_checks.decode_batch

    def counting(decoder: SlotDecoder, sequences: list[Sequence]) -> list[list[int]]:
        asked.extend((str(decoder.greedy is None), str(one.source)) for one in sequences)
        return decode(decoder, sequences)

    monkeypatch.setattr(quality_checks, "decode_batch", counting)
    native_kernels()
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    pretrained = load_folder("translation", models / "translation/pytorch", "")
    write_onnx(
        Manifest(models), "translation", pretrained, choose_kernels("native", models, quiet), None, quiet
    )
    assert len(asked) == len({*asked}) == 2 * 110, "once in float32, once in INT8"


def test_a_terminal_shows_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
        monkeypatch.setattr(rich, "get_console", lambda console=console: console)
        monkeypatch.setattr(rich.progress, "get_console", lambda console=console: console)
        assert [*track([1, 2], "translating")] == [1, 2]
        assert ("translating" in console.file.getvalue()) == is_terminal  # type: ignore[attr-defined]


def test_the_prepared_models_hold_the_bounds_on_500_texts() -> None:
    artefacts = Manifest(EMBEDDED).artefacts
    translation = artefacts["translation/onnx"]["verification"]
    assert translation["texts"] >= 500
    assert translation["chrf_against_float32"] >= 95
    assert translation["float32_graph_same_tokens"] >= 0.98
    sentiment = artefacts["sentiment/onnx"]["verification"]
    assert sentiment["texts"] >= 500
    assert sentiment["label_agreement"] >= 0.99


def test_int8_artefacts_are_about_a_quarter_of_the_float32_ones() -> None:
    artefacts = Manifest(EMBEDDED).artefacts
    # Screening of the vocabulary has the output projection a second time.
    translation = 0.36 if artefacts["translation/onnx"].get("screening") else 0.29
    for task, most in (("translation", translation), ("sentiment", 0.27)):
        assert artefacts[f"{task}/onnx"]["bytes"] <= most * artefacts[f"{task}/pytorch"]["bytes"]


@pytest.mark.parametrize("task", ["translation", "sentiment"])
def test_a_graph_that_is_not_the_model_is_not_published_and_the_last_good_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    before = Manifest(models).artefacts[f"{task}/onnx"]
    manifest = Manifest(models)
    manifest.artefacts[f"{task}/onnx"]["made_from_sha256"] = "of other weights"
    pretrained = load_folder(task, models / task / "pytorch", "")
    other = copy.deepcopy(pretrained)
    for parameter in other.model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setattr(onnx_export, "build", lambda *_: build(task, other))
    with pytest.raises(verify.VerificationFailed, match="the float32 graph"):
        write_onnx(manifest, task, pretrained, Kernels(None), None, quiet)
    assert Manifest(models).is_intact(f"{task}/onnx")
    assert Manifest(models).artefacts[f"{task}/onnx"] == before


def test_labelled_data_gives_accuracy_and_bleu(tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    (tmp_path / "multi30k").mkdir()
    (tmp_path / "sst2/dev.tsv").write_text("label\tsentence\n1\ta gorgeous film\n0\ta dull mess\n")
    (tmp_path / "multi30k/test_2016_flickr.en").write_text("Two dogs are playing in the snow.\n" * 2)
    (tmp_path / "multi30k/test_2016_flickr.de").write_text("Zwei Hunde spielen im Schnee.\n" * 2)
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    manifest = prepare("embedded", models, force=True, print_line=quiet, eval_data=tmp_path)
    sentiment = manifest.artefacts["sentiment/onnx"]["verification"]
    assert sentiment["accuracy_float32"] == sentiment["accuracy_served"] == 100
    translation = manifest.artefacts["translation/onnx"]["verification"]
    assert translation["bleu_float32"] == translation["bleu_served"] == pytest.approx(100)


def test_labelled_data_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match=r"sst2/dev.tsv cannot be read"):
        verify.LabelledData(tmp_path).sentiment()
