"""Builds the sentiment classifier's ONNX graph from a float32 DistilBERT or BERT model.

Texts are packed, without padding. The classifier needs only each text's first token of the last layer, so
that layer's query, output and feed-forward parts run on first tokens alone.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto
from transformers import PreTrainedModel

from model_export.graph_builder import EMBEDDING, GraphBuilder
from model_export.packed_rows import PackedRows

_EPSILON = 1e-12


@dataclass(frozen=True)
class _Names:
    """Parameter names of an architecture; those of a layer are preceded by `layer` and its number."""

    embeddings: str
    layer: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    feed_forward_in: str
    feed_forward_out: str
    output_norm: str
    pooler: str
    pooler_activation: str


_NAMES = {
    "distilbert": _Names(
        embeddings="distilbert.embeddings",
        layer="distilbert.transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        feed_forward_in="ffn.lin1",
        feed_forward_out="ffn.lin2",
        output_norm="output_layer_norm",
        pooler="pre_classifier",
        pooler_activation="Relu",
    ),
    "bert": _Names(
        embeddings="bert.embeddings",
        layer="bert.encoder.layer",
        query="attention.self.query",
        key="attention.self.key",
        value="attention.self.value",
        attention_output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        feed_forward_in="intermediate.dense",
        feed_forward_out="output.dense",
        output_norm="output.LayerNorm",
        pooler="bert.pooler.dense",
        pooler_activation="Tanh",
    ),
}


def build_sentiment(model: PreTrainedModel) -> onnx.ModelProto:
    """The classifier over packed texts, as one float32 graph.

    Inputs: `input_ids` int64 [T], the tokens of B texts one after the other; `row_len` int32 [B], the tokens
    of each (>= 1, T in all). Output: `logits` float32 [B,2].
    Raises ValueError for a model this graph cannot express.
    Method: LayerNormalization, Gelu (ONNX), GroupQueryAttention with causal=0 (com.microsoft).
    """
    config = model.config
    names = _NAMES[config.model_type]
    activation = getattr(config, "activation", None) or config.hidden_act
    if activation != "gelu":
        raise ValueError(f"activation is {activation!r}, expected gelu")
    graph = GraphBuilder({key: value.detach().numpy() for key, value in model.state_dict().items()})
    ids = graph.add_input("input_ids", TensorProto.INT64, ["T"])
    rows = PackedRows(graph, graph.add_input("row_len", TensorProto.INT32, ["B"]))
    width, heads = config.hidden_size, config.num_attention_heads
    x = _embed(graph, rows, ids, names.embeddings)
    for i in range(config.num_hidden_layers):
        layer = f"{names.layer}.{i}"
        query, key, value = (f"{layer}.{name}" for name in (names.query, names.key, names.value))
        graph.scale_query(query, width // heads)
        if i < config.num_hidden_layers - 1:
            attended = rows.attend(graph.linear(x, query, key, value), width, heads, f"attention_{i}")
        else:
            cache = [rows.by_head(graph.linear(x, name), width, heads) for name in (key, value)]
            x = graph.op("Gather", [x, rows.starts])
            attended = _attend_first(graph, rows, graph.linear(x, query), cache, heads)
        update = graph.linear(attended, f"{layer}.{names.attention_output}")
        x = graph.add_norm(x, update, f"{layer}.{names.attention_norm}", _EPSILON)
        hidden = graph.op("Gelu", [graph.linear(x, f"{layer}.{names.feed_forward_in}")])
        update = graph.linear(hidden, f"{layer}.{names.feed_forward_out}")
        x = graph.add_norm(x, update, f"{layer}.{names.output_norm}", _EPSILON)
    pooled = graph.op(names.pooler_activation, [graph.linear(x, names.pooler)])
    weight, bias = (
        graph.const(name, graph.parameters[name]) for name in ("classifier.weight", "classifier.bias")
    )
    graph.op("Gemm", [pooled, weight, bias], graph.add_output("logits", ["B", 2]), transB=1)
    return graph.proto("sentiment")


def _embed(graph: GraphBuilder, rows: PackedRows, ids: str, block: str) -> str:
    table = graph.parameters[f"{block}.position_embeddings.weight"]
    if f"{block}.token_type_embeddings.weight" in graph.parameters:
        # All tokens of a single text are of type 0.
        table = table + graph.parameters[f"{block}.token_type_embeddings.weight"][0]
    words = graph.const(EMBEDDING, graph.parameters[f"{block}.word_embeddings.weight"])
    positions = graph.op("Gather", [graph.const("positions", table), rows.positions])
    embedded = graph.op("Add", [graph.op("Gather", [words, ids]), positions])
    return graph.norm(embedded, f"{block}.LayerNorm", _EPSILON)


def _attend_first(graph: GraphBuilder, rows: PackedRows, query: str, cache: list[str], heads: int) -> str:
    """Attention of each text's first token, [B,width], over the keys and values of its text."""
    axis, none = graph.const("axis", np.array([1])), graph.const("none", np.array([0]))
    first = graph.op("Unsqueeze", [query, axis])
    # With an empty new key, attention reads the cache only and writes nothing.
    nothing = graph.op("Slice", [first, none, none, axis])
    inputs = [first, nothing, nothing, *cache, rows.last_index, rows.longest]
    return graph.op("Squeeze", [graph.attention(inputs, ["attention_of_first"], heads, causal=0), axis])
