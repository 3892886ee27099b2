"""Base of the INT8 rewriters of a float32 graph: constants, nodes, and int8 codes of weights."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_export.graph_builder import EMBEDDING


class GraphRewriter:
    """Rewrites one graph node by node; methods that add a tensor return its name.

    `floats` are the constants that may be stored in another form: all but those of `float32_layers`.
    """

    def __init__(self, model: onnx.ModelProto, float32_layers: Collection[str] = ()) -> None:
        self.model = model
        self.inputs = [*model.graph.input]
        self.outputs = [*model.graph.output]
        self.floats: dict[str, np.ndarray] = {}
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.nodes: dict[str, onnx.NodeProto] = {}
        for tensor in model.graph.initializer:
            kept = layer_of(tensor.name) in float32_layers
            if tensor.data_type == TensorProto.FLOAT and tensor.dims and not kept:
                self.floats[tensor.name] = numpy_helper.to_array(tensor)
            else:
                self.initializers[tensor.name] = tensor

    def op(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        if output not in self.nodes:
            self.nodes[output] = helper.make_node(kind, inputs, [output], output, domain=domain, **attributes)
        return output

    def const(self, name: str, value: np.ndarray | np.generic) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def half(self, name: str, value: np.ndarray) -> str:
        """A float32 constant, stored as float16; ONNX Runtime folds the Cast when it loads the graph."""
        stored = self.const(f"{name}.f16", value.astype(np.float16))
        return self.op("Cast", [stored], name, to=TensorProto.FLOAT)

    def keep(self, node: onnx.NodeProto) -> None:
        """Copies a node unchanged, with its float32 constants as float16."""
        for name in node.input:
            if name in self.floats:
                self.half(name, self.floats[name])
        self.nodes[node.output[0]] = node

    def drop_unread(self) -> None:
        """Removes nodes and constants that no output needs, and sorts the rest topologically."""
        producers = {name: node for node in self.nodes.values() for name in node.output}
        needed: dict[str, onnx.NodeProto] = {}
        read: set[str] = set()

        def visit(name: str) -> None:
            if name in read:
                return
            read.add(name)
            if name in producers:
                node = producers[name]
                for other in node.input:
                    visit(other)
                needed[node.output[0]] = node

        for output in self.outputs:
            visit(output.name)
        self.nodes = needed
        self.initializers = {name: value for name, value in self.initializers.items() if name in read}

    def rewritten(self, *opsets: onnx.OperatorSetIdProto) -> onnx.ModelProto:
        """The model of all emitted nodes, with `opsets` in addition to those of the original."""
        name, initializers = self.model.graph.name, [*self.initializers.values()]
        parts = [*self.nodes.values()], name, self.inputs, self.outputs, initializers
        model = helper.make_model(
            helper.make_graph(*parts),
            opset_imports=[*self.model.opset_import, *opsets],
            ir_version=self.model.ir_version,
        )
        model.metadata_props.extend(self.model.metadata_props)
        return model


def layer_names(graphs: Mapping[str, onnx.ModelProto]) -> list[str]:
    """The layers that can be quantized: the embedding, and each product with a constant weight."""
    names = {}
    for model in graphs.values():
        constants = {tensor.name for tensor in model.graph.initializer}
        for node in model.graph.node:
            if EMBEDDING in node.input:
                names[EMBEDDING] = True
            elif node.op_type == "MatMul" and node.input[1] in constants:
                names[layer_of(node.input[1])] = True
    return [*names]


def layer_of(constant: str) -> str:
    """The layer that a constant is the weight or bias of, by GraphBuilder's naming."""
    return constant.removesuffix(".weight").removesuffix(".bias")


def int8_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 codes of `rows` [N,K], and their scales [N], which float16 represents exactly."""
    half = (np.abs(rows).max(axis=1) / 127).astype(np.float16)
    scale = np.maximum(half, np.finfo(np.float16).smallest_subnormal).astype(np.float32)
    return np.clip(np.rint(rows / scale[:, None]), -127, 127).astype(np.int8), scale
