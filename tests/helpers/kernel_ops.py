"""Runs one operator of the native kernels, and says in numpy what it should give."""

import math
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
import pytest
from conftest import native_kernels
from onnx import TensorProto, helper

from model_export.instruction_sets import AVX2, INSTRUCTION_SETS, InstructionSet
from model_export.kernel_quantize import DOMAIN
from model_export.kernel_weights import MAX_SUM, panels, sums_in_16_bits

KINDS = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
}
Kinds = tuple[np.dtype | None, ...]
# What is written for AMX, on CPUs without it: all but the tile registers' own instructions.
TILES_IN_SOFTWARE = InstructionSet("AMX in software", AVX2.flags, 32, 0, ("GAP_TILES_IN_SOFTWARE",))


class Chosen:
    """What the operators that run next are compiled for."""

    instructions: InstructionSet = INSTRUCTION_SETS[0]


@pytest.fixture(
    scope="module", autouse=True, params=[*INSTRUCTION_SETS, TILES_IN_SOFTWARE], ids=lambda it: it.title
)
def instructions(request: pytest.FixtureRequest) -> InstructionSet:
    """Every instruction set that this CPU has is tested, not the best alone. For modules that import it."""
    native_kernels(request.param)
    Chosen.instructions = request.param
    return request.param


def session(
    kind: str, inputs: Kinds, outputs: Kinds, attributes: tuple[tuple[str, int], ...]
) -> onnxruntime.InferenceSession:
    """One operator as a graph: inputs i0, i1, ... (None: left out), outputs o0, o1, ..."""
    return session_for(Chosen.instructions, kind, inputs, outputs, attributes)


@cache
def session_for(
    instructions: InstructionSet,
    kind: str,
    inputs: Kinds,
    outputs: Kinds,
    attributes: tuple[tuple[str, int], ...],
) -> onnxruntime.InferenceSession:
    names = [f"i{at}" if dtype else "" for at, dtype in enumerate(inputs)]
    while not names[-1]:
        names.pop()
    node = helper.make_node(
        kind, names, [f"o{at}" for at in range(len(outputs))], domain=DOMAIN, **dict(attributes)
    )
    graph = helper.make_graph(
        [node],
        kind,
        [helper.make_tensor_value_info(f"i{at}", KINDS[d], None) for at, d in enumerate(inputs) if d],
        [helper.make_tensor_value_info(f"o{at}", KINDS[d], None) for at, d in enumerate(outputs) if d],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.register_custom_ops_library(str(native_kernels(instructions)))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(
    kind: str, values: list[np.ndarray | None], outputs: tuple[type, ...], **attributes: int
) -> list[Any]:
    """The outputs, of these types, of an operator over `values`; None leaves an optional input out."""
    inputs = tuple(None if value is None else value.dtype for value in values)
    made = session(kind, inputs, tuple(map(np.dtype, outputs)), tuple(sorted(attributes.items())))
    return made.run(None, {f"i{at}": value for at, value in enumerate(values) if value is not None})


def codes_that_fit(codes: np.ndarray) -> np.ndarray:
    """int8 `codes` [N,K], with zeros where the kernels' sums of products would not fit in 16 bits."""
    fours = Chosen.instructions.fours
    if not fours:
        return codes
    fit = sums_in_16_bits(codes, fours)[:, :, None, :, None] <= MAX_SUM
    fit = np.broadcast_to(fit, (*fit.shape[:2], fours, 2, 2)).reshape(len(codes), -1)
    return np.where(fit[:, : codes.shape[1]], codes, 0).astype(np.int8)


def linear_inputs(codes: np.ndarray, scale: np.ndarray) -> list[np.ndarray]:
    """int8 codes [N,K] and their scales [N] as RowLinear takes them: packed, with the sums of the codes."""
    return [panels(codes, Chosen.instructions.panel), scale, codes.sum(axis=1, dtype=np.int32)]


def quantized(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer codes of the rows of `x` [M,K], as float64, and the rows' scales [M,1]."""
    largest = np.abs(x).max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        factor = np.where(largest < 1e-36, np.float32(0), np.float32(127) / largest).astype(np.float32)
    codes = np.rint(x * factor).astype(np.float64)
    return codes, np.where(factor > 0, largest.astype(np.float64) / 127, 0)


def row_linear(x: np.ndarray, codes: np.ndarray, scale: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """The layer before its activation, [M,N] in float64."""
    x_codes, row_scale = quantized(x)
    return (x_codes @ codes.T.astype(np.float64)) * row_scale * scale + (0 if bias is None else bias)


def activated(x: np.ndarray, activation: int) -> np.ndarray:
    match activation:
        case 1:
            return np.maximum(x, 0)
        case 2:
            return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
        case 3:
            return x / (1 + np.exp(-np.clip(x, -700, 700)))
    return x


def attention(query: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Queries [Q,d] over keys and values [L,d], in float64."""
    scores = query.astype(np.float64) @ keys.T.astype(np.float64)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    return weights @ values.astype(np.float64) / weights.sum(axis=1, keepdims=True)


def heads_of(x: np.ndarray, heads: int) -> list[np.ndarray]:
    """[T,W] as the columns of each head."""
    return np.split(x, heads, axis=-1)
