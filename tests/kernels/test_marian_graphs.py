"""The translation graphs, float32 and INT8: right answers that never depend on the rest of their batch."""

import random
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import native_kernels
from decoder_steps import DecoderSteps, encode
from marian_exports import NATIVE, assert_same_or_tied, captions, export, greedy_of_hugging_face, tiny_model
from onnx import helper, numpy_helper
from transformers import MarianMTModel, MarianTokenizer

from model_export.marian_graphs import build_decoder_step, build_encoder
from model_export.row_quantize import quantize_rows, save_graphs
from optimized.decoder import Decoder
from optimized.runtime.graphs import Graphs
from optimized.runtime.weights import WEIGHTS_FILE

EMBEDDED = Path(__file__).parents[2] / "embedded_models" / "translation-en-de"
# Of scaled logits against float32: sums in 16 bits leave weights fewer codes.
MAX_LOGITS_ERROR = {"int8": 0.02} | {title: 0.04 if it.fours else 0.02 for title, it in NATIVE.items()}
EVERY_INT8 = pytest.mark.parametrize("int8", ["int8", *NATIVE])


def load_graphs(folder: Path) -> Graphs:
    instructions = NATIVE.get(folder.name)
    return Graphs.load(folder, native_kernels(instructions) if instructions else None)


def load(folder: Path) -> Decoder:
    return Decoder(load_graphs(folder))


@pytest.fixture(scope="module")
def embedded() -> MarianMTModel:
    return MarianMTModel.from_pretrained(EMBEDDED, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def folder(embedded: MarianMTModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(embedded, tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="module")
def sources() -> list[list[int]]:
    return MarianTokenizer.from_pretrained(EMBEDDED)(captions(120)).input_ids


@pytest.mark.parametrize(
    ("activation", "scale_embedding", "final_bias"),
    [("swish", True, False), ("relu", False, True), ("gelu", True, True)],
)
def test_float32_graphs_give_hugging_face_greedy_tokens_on_random_models(
    activation: str, scale_embedding: bool, final_bias: bool, tmp_path: Path
) -> None:
    model = tiny_model(activation, scale_embedding=scale_embedding, final_bias=final_bias)
    translator = load(export(model, tmp_path) / "float32")
    draw = random.Random(1)
    batch = [[*draw.choices(range(1, 299), k=draw.randrange(1, 30)), 0] for _ in range(50)]
    got = translator.generate(batch, [24] * 50, [3] * 50)
    assert_same_or_tied(model, batch, got, greedy_of_hugging_face(model, batch, 24, 3))
    assert max(map(len, got)) == 24
    assert min(map(len, got)) > 3


def test_float32_graphs_give_hugging_face_greedy_tokens_on_the_embedded_model(
    embedded: MarianMTModel, folder: Path, sources: list[list[int]]
) -> None:
    batch = sources[:100]
    got = load(folder / "float32").generate(batch, [60] * 100, [0] * 100)
    assert_same_or_tied(embedded, batch, got, greedy_of_hugging_face(embedded, batch, 60, 0))


@EVERY_INT8
def test_int8_stays_close_to_float32_tokens(int8: str, folder: Path, sources: list[list[int]]) -> None:
    limits = [60] * len(sources), [0] * len(sources)
    expected = load(folder / "float32").generate(sources, *limits)
    got = load(folder / int8).generate(sources, *limits)
    assert np.mean([mine == theirs for mine, theirs in zip(got, expected, strict=True)]) > 0.8


def test_limits_hold_for_each_row(folder: Path, sources: list[list[int]]) -> None:
    translator = load(folder / "int8")
    exact = [(3 * index) % 17 for index in range(40)]
    assert [len(answer) for answer in translator.generate(sources[:40], exact, exact)] == exact
    assert translator.generate([], [], []) == []
    with pytest.raises(ValueError, match="at most 256 tokens"):
        translator.generate(sources[:1], [257], [0])


@pytest.mark.parametrize("kind", ["float32", "int8", *NATIVE])
def test_rows_of_different_age_in_one_step_equal_each_alone(
    kind: str, folder: Path, sources: list[list[int]]
) -> None:
    graphs = load_graphs(folder / kind)
    batch = [sources[0], sources[1], sources[2], sources[5]]
    fed = [[(31 * row + 7 * step) % 8000 for step in range(8)] for row in range(4)]

    def decode(rows: list[int], joins: list[int]) -> list[list[np.ndarray]]:
        steps = DecoderSteps(graphs, [batch[row] for row in rows], 8)
        logits: list[list[np.ndarray]] = [[] for _ in rows]
        for step in range(8):
            active = sum(join <= step for join in joins)
            steps.run(active)
            for index in range(active):
                logits[index].append(steps.tensors["logits"][index].copy())
                steps.tensors["input_ids"][index] = fed[rows[index]][len(logits[index]) - 1]
                steps.tensors["past_len"][index] += 1
        return logits

    together = decode([0, 1, 2, 3], [0, 1, 4, 6])
    for row in range(4):
        alone = decode([row], [0])[0]
        for mixed, single in zip(together[row], alone, strict=False):
            if kind != "float32":
                assert np.array_equal(mixed, single)
            np.testing.assert_allclose(mixed, single, atol=1e-4)


@EVERY_INT8
def test_int8_answers_are_the_same_bits_alone_and_in_any_batch(
    int8: str, folder: Path, sources: list[list[int]]
) -> None:
    graphs = load_graphs(folder / int8)
    translator = Decoder(graphs)
    alone_encoded = [encode(graphs, [source]) for source in sources]
    alone = [translator.generate([source], [60], [0])[0] for source in sources]
    draw = random.Random(3)
    order = list(range(len(sources)))
    draw.shuffle(order)
    while order:
        batch = [order.pop() for _ in range(min(len(order), draw.randrange(1, 24)))]
        texts = [sources[index] for index in batch]
        encoded = encode(graphs, texts)
        for row, index in enumerate(batch):
            for name, single in alone_encoded[index].items():
                assert np.array_equal(encoded[name][row, :, : len(sources[index])], single[0])
        filler = draw.choices(range(1, 8000), k=draw.randrange(1, 120))
        answers = translator.generate([*texts, filler], [60] * len(texts) + [5], [0] * (len(texts) + 1))
        assert answers[:-1] == [alone[index] for index in batch]


@EVERY_INT8
def test_scaled_int8_logits_stay_near_float32(int8: str, folder: Path, sources: list[list[int]]) -> None:
    float32, quantized = load_graphs(folder / "float32"), load_graphs(folder / int8)
    assert _logits_error(float32, quantized, sources[:48], count=5) < MAX_LOGITS_ERROR[int8]


@EVERY_INT8
@pytest.mark.parametrize("final_bias", [False, True])
def test_int8_survives_rows_of_zeros_and_a_final_bias(final_bias: bool, int8: str, tmp_path: Path) -> None:
    model = tiny_model("relu", scale_embedding=True, final_bias=final_bias)
    torch.nn.init.constant_(model.model.decoder.layers[0].fc1.bias, -1000.0)
    folder = export(model, tmp_path)
    batch = [[index + 1, 2 * index + 1, 0] for index in range(20)]
    float32, quantized = load_graphs(folder / "float32"), load_graphs(folder / int8)
    assert _logits_error(float32, quantized, batch, count=3) < MAX_LOGITS_ERROR[int8]


def _logits_error(float32: Graphs, int8: Graphs, batch: list[list[int]], count: int) -> float:
    """Mean relative error of a step's scaled logits, both graphs fed the float32 tokens and caches."""
    steps, errors = DecoderSteps(float32, batch, count), []
    for _ in range(count):
        copies = steps.copy_for(int8)
        steps.run(len(batch))
        copies.run(len(batch))
        assert (steps.tensors["logits_scale"] == 1).all()
        expected, got = (of.tensors["logits"] * of.tensors["logits_scale"] for of in (steps, copies))
        errors.append(np.linalg.norm(got - expected, axis=1) / np.linalg.norm(expected, axis=1))
        steps.tensors["input_ids"][:, 0] = steps.tensors["logits"].argmax(axis=1)
        steps.tensors["past_len"] += 1
    return float(np.mean(errors))


@EVERY_INT8
def test_the_embedding_is_stored_once(int8: str, embedded: MarianMTModel, folder: Path) -> None:
    matrices = sum(
        value.numel()
        for name, value in embedded.named_parameters()
        if value.dim() == 2 and "embed_positions" not in name
    )
    assert matrices < (folder / int8 / WEIGHTS_FILE).stat().st_size < 1.05 * matrices
    checkpoint = 4 * (sum(value.numel() for value in embedded.parameters()) - 2 * 256 * 256)
    assert sum(file.stat().st_size for file in (folder / int8).iterdir()) <= 0.265 * checkpoint


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_loaded_int8_graph_never_dequantizes_the_embedding(
    name: str, embedded: MarianMTModel, folder: Path, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(
        folder / "int8" / f"{name}.onnx", options, providers=["CPUExecutionProvider"]
    )
    graph = onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph
    size = embedded.config.vocab_size * embedded.config.d_model
    tables = {t.name: t.data_type for t in graph.initializer if np.prod(t.dims) == size}
    assert set(tables.values()) == {onnx.TensorProto.INT8}
    readers = {node.op_type for node in graph.node if tables.keys() & set(node.input)}
    assert readers <= {"Gather", "MatMulIntegerToFloat"}
    layers = embedded.config.decoder_layers
    multiplications = 6 * layers + 1 if name == "decoder" else 4 * layers + 2 * layers
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMulIntegerToFloat") == multiplications
    assert not {"MatMul", "Gemm", "MatMulInteger", "SkipLayerNormalization"} & set(kinds)


@pytest.mark.parametrize("server", ["optimized", "dynamic_batching"])
def test_sums_of_int8_products_are_not_cut(server: str, tmp_path: Path) -> None:
    # ONNX Runtime does so on a CPU that has AVX2 alone, unless an option says otherwise.
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["M", None]) for name in "xy")
    ones = numpy_helper.from_array(np.ones((64, 8), np.float32), "ones")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "ones"], ["y"])], "layer", [x], [y], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    save_graphs(quantize_rows({"layer.onnx": model}), tmp_path)
    load_session = import_module(f"{server}.runtime.graphs").load_session
    (got,) = load_session(tmp_path / "layer.onnx").run(None, {"x": np.ones((2, 64), np.float32)})
    np.testing.assert_allclose(got, 64, rtol=1e-3)


def test_an_export_is_reproducible(tmp_path: Path) -> None:
    model = tiny_model("swish", scale_embedding=True, final_bias=True)
    for folder in (tmp_path / "first", tmp_path / "second"):
        export(model, folder)
    for file in (path for path in (tmp_path / "first").rglob("*") if path.is_file()):
        assert file.read_bytes() == (tmp_path / "second" / file.relative_to(tmp_path / "first")).read_bytes()


def test_what_cannot_be_expressed_is_refused() -> None:
    model = tiny_model("swish", scale_embedding=True, final_bias=False)
    model.config.activation_function = "tanh"
    with pytest.raises(ValueError, match="activation_function is 'tanh'"):
        build_encoder(model)
    with pytest.raises(ValueError, match="eval mode"):
        build_decoder_step(model.train())
