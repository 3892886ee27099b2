"""Weights in memory of their own: the file's, read by every session of a model for as long as it lives."""

import gc
from importlib import import_module

import numpy as np
import onnx
import pytest
from conftest import EMBEDDED
from onnx import numpy_helper

SERVERS = ("optimized", "dynamic_batching")
LARGE_BYTES = 1 << 16
MODELS = ("translation/onnx", "sentiment/onnx")


class Options:
    """Keeps what is bound."""

    def __init__(self) -> None:
        self.bound: dict[str, np.ndarray] = {}

    def add_initializer(self, name: str, value: object) -> None:
        self.bound[name] = value.numpy()  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("name", MODELS)
def test_every_large_weight_of_a_graph_is_bound_as_the_file_has_it(server: str, name: str) -> None:
    folder = EMBEDDED / name
    weights = import_module(f"{server}.runtime.weights").Weights(folder)
    paths = sorted(folder.glob("*.onnx"))
    assert paths
    for path in paths:
        weights.bind_external(path.name, options := Options())
        known = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
        assert options.bound.keys() == {key for key, values in known.items() if values.nbytes >= LARGE_BYTES}
        for key, values in options.bound.items():
            assert values.dtype == known[key].dtype and np.array_equal(values, known[key])


@pytest.mark.parametrize("server", SERVERS)
def test_a_session_keeps_the_weights_that_it_reads(server: str) -> None:
    onnx_files, graphs = (import_module(f"{server}.runtime.{name}") for name in ("onnx_files", "graphs"))
    files = onnx_files.find_onnx_files(EMBEDDED, "translation")
    library = onnx_files.kernel_library(files)
    if library is None:
        pytest.skip("ONNX Runtime's own kernels copy what they read")
    loaded = graphs.Graphs.load(files.folder, library)
    assert loaded.encoder.weights is loaded.decoder.weights is loaded.greedy.weights is not None
    feed = {"input_ids": np.arange(5, 25, dtype=np.int64), "src_len": np.array([12, 8], np.int32)}
    before = loaded.encoder.run(None, feed)
    encoder = loaded.encoder
    del loaded
    gc.collect()
    alone = graphs.load_session(files.folder / "encoder.onnx", library)
    for first, second, third in zip(before, encoder.run(None, feed), alone.run(None, feed), strict=True):
        assert np.array_equal(first, second) and np.array_equal(first, third)
