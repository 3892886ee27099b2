"""Layers that INT8 ruins stay in float32: chosen by measuring each, served as they are, and said."""

import json
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EMBEDDED, native_kernels, serving
from hypothesis import given
from hypothesis import strategies as st
from rendering import as_text
from safetensors.torch import load_file, save_file

from benchmark.measure import loopback
from dynamic_batching.decoder import SlotDecoder
from dynamic_batching.models import decode_batch
from dynamic_batching.runtime.graphs import Graphs
from dynamic_batching.sequence import Sequence
from model_export import mixed_precision, quality_checks, verify
from model_export.errors import PreparationError
from model_export.graph_builder import EMBEDDING
from model_export.graph_rewriter import int8_rows, layer_names
from model_export.greedy_quantize import quantize_for_kernels
from model_export.kernels import best_instructions
from model_export.manifest import FORMAT, TASKS, Manifest
from model_export.mixed_precision import choose_float32_layers
from model_export.onnx_export import build
from model_export.prepare import prepare
from model_export.pretrained import load_folder
from model_export.row_quantize import quantize_rows, save_graphs
from model_export.sensitivity import layer_sensitivities
from model_export.sources import HUB_REPOSITORIES
from optimize_model import size_table

# A power of two, so that in float32 nothing changes.
OUTLIER = 2.0**10
RUINED = {
    "translation": (
        "model.decoder.layers.3.encoder_attn.v_proj",
        "model.decoder.layers.3.encoder_attn.out_proj",
    ),
    "sentiment": (
        "bert.encoder.layer.5.attention.self.value",
        "bert.encoder.layer.5.attention.output.dense",
    ),
}
TEXTS = ["I love you.", "Two dogs are playing in the snow.", "A man is reading a book in the park."]

sensitivities = st.dictionaries(
    st.integers(0, 80).map(str), st.floats(0, 10) | st.just(float("inf")), min_size=1, max_size=80
)


def quiet(line: str) -> None:
    pass


@given(sensitivities, st.floats(0.01, 100), st.floats(0.0, 1.0))
def test_layers_are_kept_until_the_bound_holds(
    of_layer: dict[str, float], scale: float, floor: float
) -> None:
    asked: list[list[str]] = []

    def loss_ratio(kept: list[str]) -> float:
        asked.append(kept)
        left = sum(value for name, value in of_layer.items() if name not in kept)
        return floor + scale * left**0.5

    chosen = choose_float32_layers(loss_ratio, lambda: of_layer)
    assert asked[0] == [] and len(asked) <= mixed_precision.MAX_ATTEMPTS
    for fewer, more in pairwise(asked):
        assert more[: len(fewer)] == fewer and len(more) > len(fewer)
        least = min(of_layer[name] for name in more)
        assert all(of_layer[name] <= least for name in of_layer.keys() - {*more}), "the most sensitive first"
    if chosen is not None:
        assert chosen == asked[-1] and loss_ratio(chosen) <= 1
    else:
        assert all(loss_ratio(kept) > 1 for kept in [*asked])


def test_sensitivities_are_measured_only_where_int8_falls_short() -> None:
    def unasked() -> Mapping[str, float]:
        raise AssertionError

    assert choose_float32_layers(lambda kept: 1.0, unasked) == []


def test_one_layer_that_ruins_all_is_kept_alone() -> None:
    of_layer = {f"{index}": 0.001 for index in range(72)} | {"bad": 5.0}
    ratio: Callable[[list[str]], float] = lambda kept: 0.9 if "bad" in kept else 19.0  # noqa: E731
    assert choose_float32_layers(ratio, lambda: of_layer) == ["bad"]


def test_a_slight_miss_costs_few_layers() -> None:
    of_layer = {f"{index}": 1.0 for index in range(73)}
    chosen = choose_float32_layers(lambda kept: 1.04 * (1 - len(kept) / 73) ** 0.5, lambda: of_layer)
    assert chosen is not None and 0 < len(chosen) <= 73 // 3


@pytest.fixture(scope="module")
def ruined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded models as folders, with one layer each that reads an input far larger than the others."""
    root = tmp_path_factory.mktemp("ruined")
    for task, (writer, reader) in RUINED.items():
        folder = root / HUB_REPOSITORIES[task]
        shutil.copytree(EMBEDDED / task / "pytorch", folder)
        weights = load_file(folder / "model.safetensors")
        for part in ("weight", "bias"):
            weights[f"{writer}.{part}"][0] *= OUTLIER
        weights[f"{reader}.weight"][:, 0] /= OUTLIER
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return root


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def prepared(
    request: pytest.FixtureRequest, ruined: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Manifest, list[str]]:
    """Those models as prepared, with what preparation said."""
    if request.param == "native":
        native_kernels()
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "TEXTS", 48)
        manifest = prepare(
            str(ruined),
            tmp_path_factory.mktemp("models"),
            force=False,
            print_line=lines.append,
            kernels=request.param,
        )
    return manifest, lines


def test_a_model_that_int8_ruins_is_prepared_with_that_layer_in_float32(
    prepared: tuple[Manifest, list[str]],
) -> None:
    manifest, lines = prepared
    for task, (_, ruined_layer) in RUINED.items():
        artefact = manifest.artefacts[f"{task}/onnx"]
        assert artefact["precision"]["float32"] == [ruined_layer]
        assert len(artefact["precision"]["int8"]) > 20 and ruined_layer not in artefact["precision"]["int8"]
        assert any("misses the quality bound" in line for line in lines) and any(
            ruined_layer in line for line in lines
        )
        original = Manifest(EMBEDDED).artefacts[f"{task}/onnx"]
        # ONNX Runtime's kernels need no library, and no graphs of their own for greedy steps.
        assert 0.8 < artefact["bytes"] / original["bytes"] < 1.15
    translation, sentiment = (manifest.artefacts[f"{task}/onnx"]["verification"] for task in TASKS)
    assert translation["chrf_against_float32"] >= quality_checks.MIN_CHRF
    low, high = translation["chrf_against_float32_interval_95"]
    assert 90 < low <= translation["chrf_against_float32"] <= high <= 100
    assert sentiment["label_agreement"] >= quality_checks.MIN_LABEL_AGREEMENT
    low, high = sentiment["label_agreement_interval_95"]
    assert 0.9 < low < sentiment["label_agreement"] <= high <= 1


def test_the_size_table_says_what_is_not_int8(prepared: tuple[Manifest, list[str]]) -> None:
    text = as_text(size_table(prepared[0]))
    assert "1 of 49 layers float32" in text and "1 of 28 layers float32" in text
    assert "label agreement 1.0 (0.926 to 1)" in text


def test_what_was_prepared_so_is_kept(prepared: tuple[Manifest, list[str]], ruined: Path) -> None:
    manifest, _ = prepared
    lines: list[str] = []
    kernels = manifest.artefacts["translation/onnx"]["kernels"]
    prepare(str(ruined), manifest.folder, force=False, print_line=lines.append, kernels=kernels)
    assert "nothing to do" in lines[-1]


@pytest.mark.parametrize("server", ["optimized", "dynamic_batching"])
def test_servers_answer_as_float32_does(
    prepared: tuple[Manifest, list[str]], server: str, tmp_path: Path
) -> None:
    with (
        serving(server, tmp_path, GAP_MODELS_DIR=str(prepared[0].folder)) as running,
        loopback.Client(base_url=running.url, timeout=60.0) as client,
    ):
        answer = client.post("/translate/batch", json={"texts": TEXTS}).json()
        assert answer["translations"] == [
            "Ich liebe dich.",
            "Zwei Hunde spielen im Schnee.",
            "Ein Mann liest im Park ein Buch.",
        ]
        beams = client.post("/translate", json={"text": TEXTS[1], "num_beams": 4}).json()
        assert beams == {"translation": "Zwei Hunde spielen im Schnee."}
        reviews = {"texts": ["A gorgeous, moving film.", "A dull mess."]}
        labels = [one["label"] for one in client.post("/sentiment/batch", json=reviews).json()["results"]]
        assert labels == ["POSITIVE", "NEGATIVE"]


@pytest.mark.parametrize("task", TASKS)
def test_the_layer_that_int8_ruins_is_the_most_sensitive(ruined: Path, task: str) -> None:
    pretrained = load_folder(task, ruined / HUB_REPOSITORIES[task], "")
    before = {name: value.clone() for name, value in pretrained.model.state_dict().items()}
    layers = layer_names(build(task, pretrained))
    token_ids = [pretrained.tokenizer(text).input_ids for text in TEXTS]
    answers = [ids[::-1] for ids in token_ids] if task == "translation" else None
    found = layer_sensitivities(pretrained, layers, int8_rows, token_ids, answers)
    assert [*found] == layers and EMBEDDING in layers
    assert max(found, key=lambda layer: found[layer]) == RUINED[task][1]
    assert found[RUINED[task][1]] > 10 * sorted(found.values())[-2]
    assert sum(value > 0 for value in found.values()) > 0.9 * len(layers), "each layer is quantized"
    after = pretrained.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kernels", ["native", "onnxruntime"])
@pytest.mark.parametrize(
    "kept",
    [
        [EMBEDDING],
        ["self_attn"],
        ["encoder_attn"],
        ["fc1"],
        ["fc2"],
        ["model.encoder."],
        ["model.decoder."],
        ["model.", EMBEDDING],
    ],
    ids=lambda parts: "+".join(parts),
)
def test_any_layers_of_a_translator_can_stay_in_float32(
    tmp_path: Path, kernels: str, kept: list[str]
) -> None:
    library = native_kernels() if kernels == "native" else None
    pretrained = load_folder("translation", EMBEDDED / "translation/pytorch", "")
    graphs = build("translation", pretrained)
    layers = [layer for layer in layer_names(graphs) if any(part in layer for part in kept)]
    assert layers
    if library is None:
        quantized = quantize_rows(graphs, layers)
    else:
        quantized = quantize_for_kernels(graphs, best_instructions(), layers)
    save_graphs(quantized, tmp_path / "mixed")
    save_graphs(graphs, tmp_path / "float32")
    token_ids = [pretrained.tokenizer(text).input_ids for text in TEXTS]
    answers = []
    for name, kernel_library in (("float32", None), ("mixed", library)):
        loaded = Graphs.load(tmp_path / name, kernel_library)
        sequences = [Sequence(ids, 40, 0, beams) for ids in token_ids for beams in (1, 2)]
        answers.append(decode_batch(SlotDecoder(loaded, 8), sequences))
    assert answers[0] == answers[1]
    weights = json.loads((tmp_path / "mixed/weights.json").read_text())
    stored = {name: kind for table in weights.values() for name, (kind, *_) in table.items()}
    for layer in layers:
        assert stored[layer if layer == EMBEDDING else f"{layer}.weight"] == "float32"
    assert (tmp_path / "mixed/greedy.onnx").exists() == (library is not None and EMBEDDING not in layers)


def test_where_no_layers_help_the_float32_graph_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TEXTS", 8)
    monkeypatch.setattr(mixed_precision, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(quality_checks, "MIN_CHRF", 101.0)
    models = tmp_path / "models"
    shutil.copytree(EMBEDDED, models)
    lines: list[str] = []
    manifest = prepare("embedded", models, force=True, print_line=lines.append)
    artefact = manifest.artefacts["translation/onnx"]
    assert artefact["precision"]["int8"] == [] and len(artefact["precision"]["float32"]) == 49
    assert artefact["format"] == "ONNX Runtime float32" and artefact["kernels"] == "onnxruntime"
    assert artefact["verification"]["float32_graph_same_tokens"] == 1
    assert not artefact["files"].keys() & {"kernels.so", "greedy.onnx", "screened.onnx"}
    assert "screening" not in artefact
    assert "float32 (INT8 missed its quality bound)" in " ".join(as_text(size_table(manifest)).split())
    assert manifest.artefacts["sentiment/onnx"]["precision"]["float32"] == []
    prepare("embedded", models, force=False, print_line=lines.append)
    assert "nothing to do" in lines[-1]


def test_a_model_that_misses_its_bound_by_far_is_asked_for_fewer_texts() -> None:
    asked = []

    class Counting(verify.Check):
        def __init__(self) -> None:
            self.token_ids = [[index] for index in range(500)]
            self.labelled = []

        def run(self, served: int, token_ids: list[list[int]]) -> list[int]:  # type: ignore[override]
            asked.append(len(token_ids))
            return [served] * len(token_ids)

        def compare(self, served: int, answers: list[int]) -> verify.Judgement:  # type: ignore[override]
            judgement = verify.Judgement({"texts": len(answers)})
            judgement.require(served, 5, served - 1)
            return judgement

        same_as_pytorch = score = labelled_figures = None  # type: ignore[assignment]

    assert Counting().judge(4).figures == {"texts": 500}
    assert Counting().judge(4).loss_ratio == 0
    assert 1 < Counting().judge(5.5).loss_ratio < 1.2 and asked[-1] == 400
    assert Counting().judge(20).figures == {"texts": verify.SCREENING_TEXTS}


def test_intervals_are_of_the_texts_that_were_judged() -> None:
    expected = [f"Zwei Hunde spielen im Schnee, Nummer {index}." for index in range(200)]
    ours = [text if index % 10 else "Ein Mann liest." for index, text in enumerate(expected)]
    for count in (50, 200):
        chrf, low, high = quality_checks.chrf_with_interval(ours[:count], expected[:count])
        assert 0 < low < chrf < high < 100
        widths = high - low
        assert np.isclose(widths, 12, atol=8) if count == 50 else widths < 9
    assert quality_checks.chrf_with_interval(expected, expected) == pytest.approx((100, 100, 100))


def test_without_a_quality_check_int8_is_taken_as_it_is_and_who_asks_for_a_check_gets_one(
    ruined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TEXTS", 8)
    models = tmp_path / "models"
    unchecked = prepare(str(ruined), models, force=False, print_line=quiet, check_quality=False)
    for task in TASKS:
        artefact = unchecked.artefacts[f"{task}/onnx"]
        assert artefact["quality_checked"] is False
        assert artefact["precision"]["float32"] == [] and len(artefact["precision"]["int8"]) > 20
        assert "chrf_against_float32" not in artefact["verification"]
    assert artefact["verification"]["float32_graph_same_labels"] == 1, "the graph is checked all the same"
    assert as_text(size_table(unchecked)).count("quality not checked") == 2
    lines: list[str] = []
    prepare(str(ruined), unchecked.folder, force=False, print_line=lines.append, check_quality=False)
    assert "nothing to do" in lines[-1]

    manifest = prepare(str(ruined), unchecked.folder, force=False, print_line=quiet)
    assert all(manifest.artefacts[f"{task}/onnx"]["quality_checked"] for task in TASKS)
    assert manifest.artefacts["translation/onnx"]["precision"]["float32"] == [RUINED["translation"][1]]


@pytest.mark.parametrize("source", ["hub", "embedded", "folder of mine (0123abcd)"])
def test_auto_refuses_models_of_unchecked_quality(tmp_path: Path, source: str) -> None:
    models = tmp_path / "models"
    models.mkdir()
    artefact = {"quality_checked": False, "trained": True, "files": {}}
    written = {"format": FORMAT, "source": source, "artefacts": {"translation/onnx": artefact}}
    (models / "manifest.json").write_text(json.dumps(written))
    with pytest.raises(PreparationError, match="without a quality check") as caught:
        prepare("auto", models, force=False, print_line=quiet)
    assert "\n" not in str(caught.value) and "--source" in str(caught.value)
    assert json.loads((models / "manifest.json").read_text()) == written


def test_auto_prepares_no_models_of_unchecked_quality(tmp_path: Path) -> None:
    with pytest.raises(PreparationError, match="--no-quality-check needs a --source"):
        prepare("auto", tmp_path / "models", force=False, print_line=quiet, check_quality=False)
