"""Builds the two ONNX graphs of translation, encoder and decoding step, from a float32 `MarianMTModel`.

The encoder projects the cross-attention keys and values once, so the decoder needs no hidden state of it.
A decoding step takes rows at different positions: every row has its own lengths, and the self-attention
buffers are written in place where each past/present pair is bound to one buffer.

All attention is com.microsoft.GroupQueryAttention. It reads a row's valid keys only, so padding costs almost
nothing and an answer is bit-identical in any batch (the softmax of MultiHeadAttention includes the padding,
which changes last bits).
"""

import math

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from transformers import MarianMTModel

from model_export.graph_builder import EMBEDDING, LOGITS_SCALE, GraphBuilder
from model_export.packed_rows import PackedRows

_EPSILON = 1e-5
_METADATA = ("decoder_start_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings")


def build_encoder(model: MarianMTModel) -> onnx.ModelProto:
    """The encoder and every decoder layer's cross-attention projections, as one float32 graph.

    Inputs: `input_ids` int64 [T], the tokens of B texts one after the other; `src_len` int32 [B], the tokens
    of each (>= 1, T in all, S at most). Outputs, for each decoder layer i: `ck{i}`, `cv{i}` float32
    [B,heads,S,head_dim]. Values beyond a row's `src_len` are finite and meaningless.
    Raises ValueError for a model these graphs cannot express.
    Method: LayerNormalization (ONNX), GroupQueryAttention with causal=0 (com.microsoft).
    """
    config, graph = model.config, _MarianGraph(model)
    ids = graph.add_input("input_ids", TensorProto.INT64, ["T"])
    rows = PackedRows(graph, graph.add_input("src_len", TensorProto.INT32, ["B"]))
    width, heads = config.d_model, config.encoder_attention_heads
    table = graph.const("encoder_positions", graph.parameters["model.encoder.embed_positions.weight"])
    x = graph.embed(ids, graph.op("Gather", [table, rows.positions]))
    for i in range(config.encoder_layers):
        layer = f"model.encoder.layers.{i}"
        qkv = graph.linear(x, *(f"{layer}.self_attn.{name}_proj" for name in "qkv"))
        attended = rows.attend(qkv, width, heads, f"self_attention_{i}")
        x = graph.add_attended(x, attended, f"{layer}.self_attn")
        x = graph.feed_forward(x, layer)
    for i in range(config.decoder_layers):
        for name in "kv":
            cached = graph.linear(x, f"model.decoder.layers.{i}.encoder_attn.{name}_proj")
            output = graph.add_output(f"c{name}{i}", graph.cache_shape("S"))
            rows.by_head(cached, width, config.decoder_attention_heads, output)
    return graph.proto("encoder", graph.metadata())


def build_decoder_step(model: MarianMTModel) -> onnx.ModelProto:
    """One decoding step for B rows at any position, as one float32 graph.

    Inputs:
    - `input_ids` int64 [B,1]: each row's last token (decoder_start_token_id for a new row);
    - `past_len` int32 [B]: tokens in a row's buffers, which is the position of this token;
    - `src_len` int32 [B]: a row's source tokens;
    - `pk{i}`, `pv{i}` float32 [B,heads,M,head_dim]: self-attention buffers, with M > max(past_len);
    - `ck{i}`, `cv{i}` float32 [B,heads,S,head_dim]: from the encoder, S >= max(src_len); padding is not read.
    Outputs:
    - `logits` float32 [B,V], to be multiplied by `logits_scale` float32 [B,1], which is 1 here. Pad is one of
      V: exclude it from the choice of a token but not from a softmax, as Hugging Face does;
    - `ok{i}`, `ov{i}`: the buffers with this step's keys and values at `past_len`. Nothing is copied where
      they are bound to the memory of `pk{i}`, `pv{i}`.
    Raises ValueError for a model these graphs cannot express.
    Method: GroupQueryAttention (com.microsoft) with per-row `seqlens_k` and a shared past/present buffer; for
    cross-attention with an empty new key and no present output, so that it reads `ck{i}` and writes nothing.
    """
    config, graph = model.config, _MarianGraph(model)
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
        x = graph.add_attended(x, attended, f"{layer}.self_attn")
        query = graph.linear(x, f"{layer}.encoder_attn.q_proj")
        attended = graph.attention(
            [query, nothing, nothing, f"ck{i}", f"cv{i}", src_last_index, src_total_len],
            [f"cross_attention_{i}"],
            heads=config.decoder_attention_heads,
            causal=0,
        )
        x = graph.add_attended(x, attended, f"{layer}.encoder_attn")
        x = graph.feed_forward(x, layer)
    bias = graph.const("logits_bias", graph.parameters["final_logits_bias"].reshape(-1))
    graph.op("Gemm", [graph.op("Squeeze", [x, axis]), EMBEDDING, bias], logits, transB=1)
    ones = numpy_helper.from_array(np.ones(1, np.float32))
    scale = graph.add_output(LOGITS_SCALE, ["B", 1])
    graph.op("ConstantOfShape", [graph.op("Shape", [ids])], scale, value=ones)
    return graph.proto("decoder_step", graph.metadata())


class _MarianGraph(GraphBuilder):
    """A graph over a Marian model's parameters, with the layers of both encoder and decoder."""

    def __init__(self, model: MarianMTModel) -> None:
        config = model.config
        if model.training or model.dtype != torch.float32:
            raise ValueError("model must be float32 and in eval mode")
        if not torch.equal(model.lm_head.weight, model.model.shared.weight):
            raise ValueError("output projection and embedding differ, expected one shared matrix")
        for heads in (config.encoder_attention_heads, config.decoder_attention_heads):
            if config.d_model // heads % 8:
                raise ValueError(f"head size {config.d_model // heads} is not a multiple of 8")
        super().__init__({name: value.detach().numpy() for name, value in model.state_dict().items()})
        self.config = config
        for name in [*self.parameters]:
            if name.endswith(".q_proj.weight"):
                side = "encoder" if name.startswith("model.encoder.") else "decoder"
                heads = getattr(config, f"{side}_attention_heads")
                self.scale_query(name.removesuffix(".weight"), config.d_model // heads)

    def cache_shape(self, length: str) -> list[str | int]:
        heads = self.config.decoder_attention_heads
        return ["B", heads, length, self.config.d_model // heads]

    def embed(self, ids: str, positions: str) -> str:
        table = self.const(EMBEDDING, self.parameters["model.shared.weight"])
        embedded = self.op("Gather", [table, ids])
        if self.config.scale_embedding:
            factor = self.const("embedding_factor", np.float32(math.sqrt(self.config.d_model)))
            embedded = self.op("Mul", [embedded, factor])
        return self.op("Add", [embedded, positions])

    def add_attended(self, x: str, attended: str, block: str) -> str:
        update = self.linear(attended, f"{block}.out_proj")
        return self.add_norm(x, update, f"{block}_layer_norm", _EPSILON)

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
        return self.add_norm(x, self.linear(hidden, f"{layer}.fc2"), f"{layer}.final_layer_norm", _EPSILON)

    def metadata(self) -> dict[str, str]:
        return {key: str(getattr(self.config, key)) for key in _METADATA}
