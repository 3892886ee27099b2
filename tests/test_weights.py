"""Weights in memory of their own: the file's, read by every session of a model for as long as it lives."""

import gc
from types import ModuleType

import numpy as np
import onnx
import pytest
from conftest import EMBEDDED
from onnx import numpy_helper

import dynamic_batching.artefacts
import dynamic_batching.graphs
import dynamic_batching.weights
import optimized.artefacts
import optimized.graphs
import optimized.weights

LARGE_BYTES = 1 << 16
ARTEFACTS = ("translation/onnx", "sentiment/onnx")


class Options:
    """Keeps what it is lent."""

    def __init__(self) -> None:
        self.lent: dict[str, np.ndarray] = {}

    def add_initializer(self, name: str, value: object) -> None:
        self.lent[name] = value.numpy()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "weights", [optimized.weights, dynamic_batching.weights], ids=lambda one: one.__name__
)
@pytest.mark.parametrize("name", ARTEFACTS)
def test_every_large_weight_of_a_graph_is_lent_as_the_file_has_it(weights: ModuleType, name: str) -> None:
    folder = EMBEDDED / name
    lender = weights.Weights(folder)
    paths = sorted(folder.glob("*.onnx"))
    assert paths
    for path in paths:
        lender.lend(path.name, options := Options())
        known = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        assert options.lent.keys() == {key for key, values in known.items() if values.nbytes >= LARGE_BYTES}
        for key, values in options.lent.items():
            assert values.dtype == known[key].dtype and np.array_equal(values, known[key])


@pytest.mark.parametrize(
    ("artefacts", "graphs"),
    [
        (optimized.artefacts, optimized.graphs),
        (dynamic_batching.artefacts, dynamic_batching.graphs),
    ],
    ids=["optimized", "dynamic_batching"],
)
def test_a_session_keeps_the_weights_that_it_reads(artefacts: ModuleType, graphs: ModuleType) -> None:
    artefact = artefacts.find_artefact(EMBEDDED, "translation/onnx")
    if artefact.kernels is None:
        pytest.skip("ONNX Runtime's own kernels copy what they read")
    loaded = graphs.Graphs.load(artefact.folder, artefact.kernels)
    assert loaded.encoder.weights is loaded.decoder.weights is loaded.greedy.weights is not None
    feed = {"input_ids": np.arange(5, 25, dtype=np.int64), "src_len": np.array([12, 8], np.int32)}
    before = loaded.encoder.run(None, feed)
    encoder = loaded.encoder
    del loaded
    gc.collect()
    alone = graphs.load_session(artefact.folder / "encoder.onnx", artefact.kernels)
    for first, second, third in zip(before, encoder.run(None, feed), alone.run(None, feed), strict=True):
        assert np.array_equal(first, second) and np.array_equal(first, third)
