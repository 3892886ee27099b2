"""The graphs as ONNX Runtime sessions on one thread, with the library of kernels where they need it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from .weights import Weights


def load_session(
    path: Path,
    kernels: Path | None = None,
    weights: Weights | None = None,
    options: onnxruntime.SessionOptions | None = None,
) -> onnxruntime.InferenceSession:
    """A session that runs on the calling thread; external weights are found next to the file.

    `kernels` is the library of operators that the graph needs besides ONNX Runtime's own. They read
    `weights`, or unless given weights that this session has for itself. `options` may ask for a profile.
    """
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # A pattern is kept for every shape that ever came, and packed texts come in ever new ones.
    options.enable_mem_pattern = False
    # Without it, on a CPU that has AVX2 alone, sums of two INT8 products are cut to 16 bits: other answers.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if kernels is not None:
        options.register_custom_ops_library(str(kernels))
        # ONNX Runtime's own kernels, which need none, make copies in an order of their own.
        weights = weights or Weights(path.parent)
        weights.bind_external(path.name, options)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.weights = weights  # which must outlive it
    return session


@dataclass(frozen=True)
class Graphs:
    """The encoder and the single-step decoder, shared by every thread: a session's run is thread-safe.

    `greedy` is the decoder's step that chooses tokens itself, where the models have one. With screening it
    computes few of the logits, and chooses the same tokens as with all of them.
    """

    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession
    greedy: onnxruntime.InferenceSession | None = None

    @classmethod
    def load(cls, folder: Path, kernels: Path | None = None, *, screening: bool = False) -> "Graphs":
        """The graphs in `folder`, which need the library `kernels` if it is given.

        With `screening` the greedy step is the one that screens the vocabulary, if there is one.
        """
        greedy = "screened" if screening and (folder / "screened.onnx").exists() else "greedy"
        paths = [folder / f"{name}.onnx" for name in ("encoder", "decoder", greedy)]
        weights = Weights(folder) if kernels else None
        return cls(*(load_session(path, kernels, weights) for path in paths if path.exists()))

    @property
    def cache_dtype(self) -> np.dtype:
        """Of the keys and values that the graphs keep between calls."""
        kind = next(node.type for node in self.decoder.get_inputs() if node.name == "pk0")
        return np.dtype({"tensor(float)": np.float32, "tensor(float16)": np.float16}[kind])
