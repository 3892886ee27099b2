"""Builds the two ONNX graphs that translation runs on from a float32 `MarianMTModel`.

The encoder projects the cross-attention keys and values once, so the decoder never sees its hidden state.
The decoder does one step for rows of different age: every row carries its own lengths, and the self-attention
buffers are written in place where each past/present pair is bound to one buffer.

Attention is com.microsoft.GroupQueryAttention throughout. It reads a row's valid keys only, so padding costs
next to nothing and an answer is the same bits whatever it is batched with (the softmax of MultiHeadAttention
runs over the padding too, which moves last bits).
"""

import math
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import MarianMTModel

EMBEDDING = "embedding"
OPSET = 21
_OPSETS = (helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1))
_METADATA = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings")


def build_encoder(model: MarianMTModel) -> onnx.ModelProto:
    """The encoder and every decoder layer's cross-attention projections, as one float32 graph.

    Inputs: `input_ids` int64 [B,S], right-padded with any token; `src_len` int32 [B], a row's tokens (>= 1).
    Outputs, for each decoder layer i: `ck{i}`, `cv{i}` float32 [B,heads,S,head_dim]. Beyond a row's `src_len`
    they hold finite values without meaning.
    Raises ValueError for a model these graphs cannot express.
    Method: LayerNormalization (ONNX), GroupQueryAttention with causal=0 (com.microsoft).
    """
    config, graph = model.config, _Graph(model)
    heads = config.decoder_attention_heads
    ids = graph.add_input("input_ids", TensorProto.INT64, ["B", "S"])
    src_len = graph.add_input("src_len", TensorProto.INT32, ["B"])
    last_index = graph.op("Sub", [src_len, graph.const("one", np.int32(1))])
    source_len = graph.op("Shape", [ids], start=1, end=2)
    source_len_int32 = graph.op("Cast", [source_len], to=TensorProto.INT32)
    table = graph.const("encoder_positions", graph.parameters["model.encoder.embed_positions.weight"])
    zero = graph.const("zeros", np.array([0]))
    x = graph.embed(ids, graph.op("Slice", [table, zero, source_len, zero]))
    for i in range(config.encoder_layers):
        layer = f"model.encoder.layers.{i}"
        qkv = graph.linear(x, *(f"{layer}.self_attn.{name}_proj" for name in "qkv"))
        attended = graph.attention(
            [qkv, "", "", "", "", last_index, source_len_int32],
            [f"self_attention_{i}"],
            heads=config.encoder_attention_heads,
            causal=0,
        )
        x = graph.add_norm(x, graph.linear(attended, f"{layer}.self_attn.out_proj"), f"{layer}.self_attn")
        x = graph.feed_forward(x, layer)
    split_heads = graph.const("split_heads", np.array([0, 0, heads, config.d_model // heads]))
    for i in range(config.decoder_layers):
        for name in "kv":
            flat = graph.linear(x, f"model.decoder.layers.{i}.encoder_attn.{name}_proj")
            output = graph.add_output(f"c{name}{i}", graph.cache_shape("S"))
            graph.op("Transpose", [graph.op("Reshape", [flat, split_heads])], output, perm=[0, 2, 1, 3])
    return graph.proto("encoder")


def build_decoder_step(model: MarianMTModel) -> onnx.ModelProto:
    """One decoding step for B rows of any age, as one float32 graph.

    Inputs:
    - `input_ids` int64 [B,1]: each row's last token (decoder_start_token_id for a row that just joined);
    - `past_len` int32 [B]: tokens a row has in its buffers, which is this token's position;
    - `src_len` int32 [B]: a row's source tokens;
    - `pk{i}`, `pv{i}` float32 [B,heads,M,head_dim]: self-attention buffers, with M > max(past_len);
    - `ck{i}`, `cv{i}` float32 [B,heads,S,head_dim]: from the encoder, S >= max(src_len); padding is not read.
    Outputs: `logits` float32 [B,V], -inf for pad; `ok{i}`, `ov{i}`: the buffers with this step's keys and
    values at `past_len`. Where each is bound to the memory of `pk{i}`, `pv{i}`, nothing is copied.
    Raises ValueError for a model these graphs cannot express.
    Method: GroupQueryAttention (com.microsoft) with per-row `seqlens_k` and a shared past/present buffer; for
    cross-attention with an empty new key and no present output, so that it reads `ck{i}` and writes nothing.
    """
    config, graph = model.config, _Graph(model)
    ids = graph.add_input("input_ids", TensorProto.INT64, ["B", 1])
    past_len = graph.add_input("past_len", TensorProto.INT32, ["B"])
    src_len = graph.add_input("src_len", TensorProto.INT32, ["B"])
    logits = graph.add_output("logits", ["B", config.vocab_size])
    one = graph.const("one", np.int32(1))
    total_len = graph.op("Add", [graph.op("ReduceMax", [past_len], keepdims=1), one])
    src_last_index = graph.op("Sub", [src_len, one])
    src_total_len = graph.op("ReduceMax", [src_len], keepdims=1)
    zero, axis = graph.const("zeros", np.array([0])), graph.const("ones", np.array([1]))
    table = graph.const("decoder_positions", graph.parameters["model.decoder.embed_positions.weight"])
    x = graph.embed(ids, graph.op("Gather", [table, graph.op("Unsqueeze", [past_len, axis])]))
    nothing = graph.op("Slice", [x, zero, zero, axis])
    for i in range(config.decoder_layers):
        layer = f"model.decoder.layers.{i}"
        for name in "kv":
            graph.add_input(f"p{name}{i}", TensorProto.FLOAT, graph.cache_shape("M"))
            graph.add_input(f"c{name}{i}", TensorProto.FLOAT, graph.cache_shape("S"))
            graph.add_output(f"o{name}{i}", graph.cache_shape("M"))
        qkv = graph.linear(x, *(f"{layer}.self_attn.{name}_proj" for name in "qkv"))
        attended = graph.attention(
            [qkv, "", "", f"pk{i}", f"pv{i}", past_len, total_len],
            [f"self_attention_{i}", f"ok{i}", f"ov{i}"],
            heads=config.decoder_attention_heads,
            causal=1,
        )
        x = graph.add_norm(x, graph.linear(attended, f"{layer}.self_attn.out_proj"), f"{layer}.self_attn")
        query = graph.linear(x, f"{layer}.encoder_attn.q_proj")
        attended = graph.attention(
            [query, nothing, nothing, f"ck{i}", f"cv{i}", src_last_index, src_total_len],
            [f"cross_attention_{i}"],
            heads=config.decoder_attention_heads,
            causal=0,
        )
        x = graph.add_norm(
            x, graph.linear(attended, f"{layer}.encoder_attn.out_proj"), f"{layer}.encoder_attn"
        )
        x = graph.feed_forward(x, layer)
    bias = graph.parameters["final_logits_bias"].reshape(-1).copy()
    bias[config.pad_token_id] = -np.inf
    rows = graph.op("Squeeze", [x, axis])
    graph.op("Gemm", [rows, EMBEDDING, graph.const("logits_bias", bias)], logits, transB=1)
    return graph.proto("decoder_step")


class _Graph:
    """Collects the parts of one graph; what adds a tensor returns its name."""

    def __init__(self, model: MarianMTModel) -> None:
        config = model.config
        if model.training or model.dtype != torch.float32:
            raise ValueError("model must be float32 and in eval mode")
        if not torch.equal(model.lm_head.weight, model.model.shared.weight):
            raise ValueError("output projection and embedding differ, expected one shared matrix")
        for heads in (config.encoder_attention_heads, config.decoder_attention_heads):
            if config.d_model // heads % 8:
                raise ValueError(f"head size {config.d_model // heads} is not a multiple of 8")
        self.config = config
        self.parameters = {name: value.detach().numpy() for name, value in model.state_dict().items()}
        self.scale_queries()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def scale_queries(self) -> None:
        """Moves attention's factor 1/sqrt(head_dim) into the query projections.

        With a factor of 1 ONNX Runtime multiplies one query by the keys where they lie; with any other it
        packs the keys first.
        """
        for name, value in self.parameters.items():
            if ".q_proj." in name:
                side = "encoder" if name.startswith("model.encoder.") else "decoder"
                head_dim = self.config.d_model // getattr(self.config, f"{side}_attention_heads")
                self.parameters[name] = value / np.float32(math.sqrt(head_dim))

    def cache_shape(self, length: str) -> list[str | int]:
        heads = self.config.decoder_attention_heads
        return ["B", heads, length, self.config.d_model // heads]

    def add_input(self, name: str, kind: int, shape: list[str | int]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def add_output(self, name: str, shape: list[str | int]) -> str:
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

    def attention(self, inputs: list[str], outputs: list[str], heads: int, causal: int) -> str:
        node = helper.make_node("GroupQueryAttention", inputs, outputs, outputs[0], domain="com.microsoft")
        attributes = {"num_heads": heads, "kv_num_heads": heads, "causal": causal, "scale": 1.0}
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(node)
        return outputs[0]

    def embed(self, ids: str, positions: str) -> str:
        table = self.const(EMBEDDING, self.parameters["model.shared.weight"])
        embedded = self.op("Gather", [table, ids])
        if self.config.scale_embedding:
            factor = self.const("embedding_factor", np.float32(math.sqrt(self.config.d_model)))
            embedded = self.op("Mul", [embedded, factor])
        return self.op("Add", [embedded, positions])

    def linear(self, x: str, *layers: str) -> str:
        """`x` through one or more linear layers side by side: one product for all of them."""
        name = "+".join(layers)
        weight = np.concatenate([self.parameters[f"{layer}.weight"] for layer in layers])
        bias = np.concatenate([self.parameters[f"{layer}.bias"] for layer in layers])
        product = self.op("MatMul", [x, self.const(f"{name}.weight", weight.T)])
        return self.op("Add", [product, self.const(f"{name}.bias", bias)])

    def add_norm(self, x: str, update: str, block: str) -> str:
        norm = f"{block}_layer_norm"
        scale = self.const(f"{norm}.weight", self.parameters[f"{norm}.weight"])
        bias = self.const(f"{norm}.bias", self.parameters[f"{norm}.bias"])
        # Sum, not Add: ONNX Runtime would fuse an Add and the LayerNormalization into SkipLayerNormalization,
        # whose CPU kernel is slower than the two.
        return self.op(
            "LayerNormalization", [self.op("Sum", [x, update]), scale, bias], axis=-1, epsilon=1e-5
        )

    def feed_forward(self, x: str, layer: str) -> str:
        hidden = self.linear(x, f"{layer}.fc1")
        match self.config.activation_function:
            case "swish" | "silu":
                hidden = self.op("QuickGelu", [hidden], domain="com.microsoft", alpha=1.0)
            case "relu":
                hidden = self.op("Relu", [hidden])
            case "gelu":
                hidden = self.op("Gelu", [hidden])
            case other:
                raise ValueError(f"activation_function is {other!r}, expected swish, silu, relu or gelu")
        return self.add_norm(x, self.linear(hidden, f"{layer}.fc2"), f"{layer}.final")

    def proto(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, [*self.initializers.values()])
        model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=10)
        helper.set_model_props(model, {key: str(getattr(self.config, key)) for key in _METADATA})
        return model
