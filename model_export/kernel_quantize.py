"""Rewrites float32 graphs to INT8 with the operators of kernels/, each of which replaces a chain of nodes.

Weights get one scale per output channel, and activations one per token row, so an answer is bit-identical
alone and in any batch.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_export.errors import PreparationError
from model_export.graph_builder import EMBEDDING
from model_export.graph_rewriter import GraphRewriter, int8_rows
from model_export.instruction_sets import InstructionSet
from model_export.kernel_weights import int8_rows_for_16_bits, panels

DOMAIN = "gap"
NONE, RELU, GELU, SILU = range(4)


class KernelQuantizer(GraphRewriter):
    """Replaces each chain of nodes that an operator covers by that operator, under the chain's last name.

    The nodes of the chain are then unread, and removed.
    """

    def __init__(
        self, model: onnx.ModelProto, instructions: InstructionSet, float32_layers: Collection[str] = ()
    ) -> None:
        super().__init__(model, float32_layers)
        self.instructions = instructions
        self.inputs = [cache_type(value) for value in self.inputs]
        self.outputs = [cache_type(value) for value in self.outputs]
        self.caches = {value.name for value in (*self.inputs, *self.outputs) if is_cache(value)}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto | None]] = {
            output.name: [None] for output in model.graph.output
        }
        for node in model.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def run(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            match node.op_type, list(node.input):
                case _ if node.output[0] in self.nodes:
                    pass  # the end of a replaced chain
                case "Gather", [table, ids] if table == EMBEDDING and table in self.floats:
                    self.emit("EmbedRows", [*self.packed(EMBEDDING)[:2], ids], [*node.output])
                case "MatMul", [x, weight] if weight in self.floats:
                    self.linear(x, weight, node.output[0])
                case "Gemm", [x, table, bias] if table == EMBEDDING and table in self.floats:
                    self.project(x, bias if self.floats[bias].any() else "", node.output[0])
                case "GroupQueryAttention", [query, key, _, past_key, past_value, length, _]:
                    heads = next(value.i for value in node.attribute if value.name == "num_heads")
                    cache = [self.cached(past_key), self.cached(past_value)]
                    if key:
                        inputs = [query, *cache, self.lengths(length)]
                        self.emit("CrossAttention", inputs, [*node.output], heads=heads)
                    elif past_key:
                        self.emit("StepAttention", [query, *cache, length], [*node.output], heads=heads)
                    else:
                        self.attend_packed(query, length, node, heads)
                case _ if node.output[0] in self.caches:
                    self.keep_rows(node.output[0], node.output[0])
                case _:
                    self.keep(node)
        self.drop_unread()
        return self.rewritten(helper.make_opsetid(DOMAIN, 1))

    def emit(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        while not inputs[-1]:
            inputs.pop()
        self.nodes[outputs[0]] = helper.make_node(
            kind, inputs, outputs, outputs[0], domain=DOMAIN, **attributes
        )

    def linear(self, x: str, weight: str, output: str) -> None:
        """A product with the bias, activation, residual and norm that follow it, if any."""
        bias = residual = ""
        norm: list[str] = []
        activation = NONE
        reader = self.only_reader(output)
        if reader is not None and reader.op_type == "Add":
            other = other_input(reader, output)
            if self.floats.get(other, np.empty(())).shape == self.floats[weight].shape[1:]:
                bias, output = other, reader.output[0]
        reader = self.only_reader(output)
        if reader is not None and (following := activation_of(reader)) != NONE:
            activation, output = following, reader.output[0]
        reader = self.only_reader(output)
        if reader is not None and reader.op_type == "Sum" and len(reader.input) == 2:
            residual, output = other_input(reader, output), reader.output[0]
        reader = self.only_reader(output)
        if reader is not None and reader.op_type == "LayerNormalization":
            norm, output = self.norm(reader), reader.output[0]
        inputs = [x, *self.packed(weight), self.bias(bias), residual, *norm]
        self.emit("RowLinear", inputs, [output], activation=activation)

    def norm(self, node: onnx.NodeProto) -> list[str]:
        """Weight, bias and epsilon of a norm over the last axis."""
        _, weight, bias = node.input
        epsilon = next(value.f for value in node.attribute if value.name == "epsilon")
        constants = [self.half(name, self.floats[name]) for name in (weight, bias)]
        return [*constants, self.const(f"epsilon_{epsilon:g}", np.array([epsilon], np.float32))]

    def bias(self, name: str) -> str:
        return self.half(name, self.floats[name]) if name else ""

    def project(self, x: str, bias: str, output: str) -> None:
        inputs = [x, *self.packed(EMBEDDING), self.bias(bias)]
        self.emit("RowLinear", inputs, [output], activation=NONE)

    def cached(self, name: str) -> str:
        """Keys or values as the kernels read them."""
        if name in self.caches or not name:
            return name
        return self.keep_rows(name, f"{name}.cached")

    def keep_rows(self, name: str, output: str) -> str:
        """Keys or values directly from packed texts, where the graph pads them by head."""
        reshaped = self.producers[self.producers[name].input[0]]
        padded = self.producers[reshaped.input[0]]
        assert reshaped.op_type == "Reshape" and padded.op_type == "Gather"
        starts = next(node for node in self.model.graph.node if node.op_type == "CumSum")
        (lengths,) = self.producers[starts.input[0]].input
        self.emit("KeepRows", [padded.input[0], lengths], [output])
        return output

    def attend_packed(self, query: str, last_index: str, node: onnx.NodeProto, heads: int) -> None:
        """Attention between the Gather that pads packed rows, and the Reshape and Gather that pack them."""
        padded = self.producers[query]
        reshaped = self.only_reader(node.output[0])
        packed = None if reshaped is None else self.only_reader(reshaped.output[0])
        assert padded.op_type == "Gather" and packed is not None and packed.op_type == "Gather"
        inputs = [padded.input[0], self.lengths(last_index)]
        self.emit("PackedAttention", inputs, [*packed.output], heads=heads)

    def lengths(self, last_index: str) -> str:
        """The lengths, of which GroupQueryAttention takes length - 1."""
        subtraction = self.producers[last_index]
        assert subtraction.op_type == "Sub"
        return subtraction.input[0]

    def packed(self, weight: str) -> tuple[str, str, str]:
        """Codes [P,K/4,panel,4], scales [N] and sums of codes [N] of a weight [K,N] or table [N,K]."""
        return self.packed_rows(weight, self.floats[weight] if weight == EMBEDDING else self.floats[weight].T)

    def packed_rows(self, name: str, columns: np.ndarray) -> tuple[str, str, str]:
        """The same of the float32 weights `columns` [N,K]."""
        if columns.shape[1] % 4:
            raise PreparationError(
                f"the native kernels need a multiple of 4 inputs per layer, not {columns.shape[1]}; "
                "--kernels onnxruntime takes any number"
            )
        codes, scale = int8_weights(columns, self.instructions)
        return (
            self.const(f"{name}.i8", panels(codes, self.instructions.panel)),
            self.half(f"{name}.scale", scale),
            self.const(f"{name}.sum", codes.sum(axis=1, dtype=np.int32)),
        )

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a tensor; None where there are several, or it is an output."""
        readers = self.readers.get(name, [])
        return readers[0] if len(readers) == 1 else None


def int8_weights(rows: np.ndarray, instructions: InstructionSet | None) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes [N,K] and scales [N] of weights, for kernels of `instructions` or ONNX Runtime's own."""
    if instructions is None or not instructions.fours:
        return int8_rows(rows)
    return int8_rows_for_16_bits(rows, instructions.fours)


def is_cache(value: onnx.ValueInfoProto) -> bool:
    """Whether an input or output holds keys or values, [rows,heads,tokens,head_dim]."""
    return len(value.type.tensor_type.shape.dim) == 4


def cache_type(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The input or output with the shape that the kernels use."""
    if not is_cache(value):
        return value
    rows, heads, tokens, head_dim = (
        size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim
    )
    shape = [rows, 1, tokens, heads * head_dim]
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT16, shape)


def other_input(node: onnx.NodeProto, name: str) -> str:
    first, second = node.input
    return second if first == name else first


def activation_of(node: onnx.NodeProto) -> int:
    attributes = {value.name: value for value in node.attribute}
    match node.op_type:
        case "Relu":
            return RELU
        case "Gelu" if "approximate" not in attributes or attributes["approximate"].s == b"none":
            return GELU
        case "QuickGelu" if attributes["alpha"].f == 1:
            return SILU
    return NONE
