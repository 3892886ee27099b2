"""Builds ONNX graphs: nodes, constants, inputs and outputs, and the layers that both models use."""

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EMBEDDING = "embedding"
LOGITS_SCALE = "logits_scale"
OPSET = 21
_OPSETS = (helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1))


class GraphBuilder:
    """One graph over the float32 `parameters` of a model; methods that add a tensor return its name."""

    def __init__(self, parameters: dict[str, np.ndarray]) -> None:
        self.parameters = parameters
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def add_input(self, name: str, kind: int, shape: list[str | int]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def add_output(self, name: str, shape: list[str | int]) -> str:
        """A float32 output."""
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def const(self, name: str, value: np.ndarray | np.generic) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def op(self, kind: str, inputs: list[str], output: str = "", domain: str = "", **attributes: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, domain=domain, **attributes))
        return output

    def scale_query(self, layer: str, head_dim: int) -> None:
        """Moves attention's factor 1/sqrt(head_dim) into the projection of its queries.

        With a factor of 1 ONNX Runtime multiplies one query by the keys in place; otherwise it first copies
        the keys into packed form.
        """
        for part in ("weight", "bias"):
            scaled = self.parameters[f"{layer}.{part}"] / np.float32(math.sqrt(head_dim))
            self.parameters[f"{layer}.{part}"] = scaled

    def attention(self, inputs: list[str], outputs: list[str], heads: int, causal: int) -> str:
        """GroupQueryAttention (com.microsoft) with as many key heads as query heads, of scaled queries."""
        node = helper.make_node("GroupQueryAttention", inputs, outputs, outputs[0], domain="com.microsoft")
        attributes = {"num_heads": heads, "kv_num_heads": heads, "causal": causal, "scale": 1.0}
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(node)
        return outputs[0]

    def linear(self, x: str, *layers: str) -> str:
        """`x` through one or more linear layers, concatenated into one product."""
        name = "+".join(layers)
        weight = np.concatenate([self.parameters[f"{layer}.weight"] for layer in layers])
        bias = np.concatenate([self.parameters[f"{layer}.bias"] for layer in layers])
        product = self.op("MatMul", [x, self.const(f"{name}.weight", weight.T)])
        return self.op("Add", [product, self.const(f"{name}.bias", bias)])

    def norm(self, x: str, name: str, epsilon: float) -> str:
        scale = self.const(f"{name}.weight", self.parameters[f"{name}.weight"])
        bias = self.const(f"{name}.bias", self.parameters[f"{name}.bias"])
        return self.op("LayerNormalization", [x, scale, bias], axis=-1, epsilon=epsilon)

    def add_norm(self, x: str, update: str, name: str, epsilon: float) -> str:
        # Sum, not Add: ONNX Runtime would fuse an Add and the LayerNormalization into SkipLayerNormalization,
        # whose CPU kernel is slower than the two.
        return self.norm(self.op("Sum", [x, update]), name, epsilon)

    def proto(self, name: str, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, [*self.initializers.values()])
        model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=10)
        helper.set_model_props(model, metadata or {})
        return model
