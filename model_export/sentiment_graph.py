"""Builds the sentiment classifier's ONNX graph from a float32 DistilBERT or BERT model.

Texts of different lengths are packed: their tokens follow each other without padding, and every linear layer
and norm runs over real tokens alone (the method of ByteTransformer, arXiv:2210.03052). Only attention sees
rows, padded, and reads a row's valid keys. Of the last layer the classifier needs each text's first token
alone, so its query, output and feed-forward layers run on nothing else.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto
from transformers import PreTrainedModel

from model_export.graph_builder import EMBEDDING, GraphBuilder

_EPSILON = 1e-12


@dataclass(frozen=True)
class _Names:
    """Where an architecture keeps its parameters; those of a layer follow `layer` with its number."""

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
    graph = _PackedGraph({key: value.detach().numpy() for key, value in model.state_dict().items()})
    graph.read_rows()
    x = graph.embed(names.embeddings)
    for i in range(config.num_hidden_layers):
        layer, heads = f"{names.layer}.{i}", config.num_attention_heads
        query, key, value = (f"{layer}.{name}" for name in (names.query, names.key, names.value))
        if i < config.num_hidden_layers - 1:
            attended = graph.attend(graph.linear(x, query, key, value), heads, i)
        else:
            keys, values = graph.linear(x, key), graph.linear(x, value)
            x = graph.op("Gather", [x, graph.starts])
            attended = graph.attend_first(graph.linear(x, query), keys, values, heads, i)
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


class _PackedGraph(GraphBuilder):
    """`packed_at` [T]: a token's place in the padded rows [B,S]; `padded_from` [B,S]: the token there."""

    def read_rows(self) -> None:
        """From the inputs, where each token belongs; a padded place repeats its row's first token."""
        ids = self.add_input("input_ids", TensorProto.INT64, ["T"])
        row_len = self.add_input("row_len", TensorProto.INT32, ["B"])
        zero, one = self.const("zero", np.int64(0)), self.const("one", np.int64(1))
        self.axis = self.const("axis", np.array([1]))
        self.flat = self.const("flat", np.array([-1]))
        lengths = self.op("Cast", [row_len], to=TensorProto.INT64)
        self.starts = self.op("CumSum", [lengths, zero], exclusive=1)
        longest = self.op("ReduceMax", [lengths], keepdims=0)
        places = self.op("Range", [zero, longest, one])
        valid = self.op("Less", [places, self.op("Unsqueeze", [lengths, self.axis])])
        offsets = self.op("Mul", [places, self.op("Cast", [valid], to=TensorProto.INT64)])
        self.padded_from = self.op("Add", [self.op("Unsqueeze", [self.starts, self.axis]), offsets])
        found = self.op("NonZero", [self.op("Reshape", [valid, self.flat])])
        self.packed_at = self.op("Reshape", [found, self.flat])
        self.positions = self.op("Mod", [self.packed_at, longest])
        self.last_index = self.op("Sub", [row_len, self.const("one_int32", np.int32(1))])
        self.longest_int32 = self.op("Cast", [longest], to=TensorProto.INT32)
        self.ids = ids

    def embed(self, block: str) -> str:
        table = self.parameters[f"{block}.position_embeddings.weight"]
        if f"{block}.token_type_embeddings.weight" in self.parameters:
            # All tokens of a single text are of type 0.
            table = table + self.parameters[f"{block}.token_type_embeddings.weight"][0]
        words = self.const(EMBEDDING, self.parameters[f"{block}.word_embeddings.weight"])
        positions = self.op("Gather", [self.const("positions", table), self.positions])
        embedded = self.op("Add", [self.op("Gather", [words, self.ids]), positions])
        return self.norm(embedded, f"{block}.LayerNorm", _EPSILON)

    def attend(self, qkv: str, heads: int, layer: int) -> str:
        """Self-attention over each row: [T,3*width] to [T,width]."""
        padded = self.op("Gather", [qkv, self.padded_from])
        attended = self.attention(
            [padded, "", "", "", "", self.last_index, self.longest_int32], [f"attention_{layer}"], heads, 0
        )
        width = self.parameters_width()
        rows = self.op("Reshape", [attended, self.const("rows", np.array([-1, width]))])
        return self.op("Gather", [rows, self.packed_at])

    def attend_first(self, query: str, keys: str, values: str, heads: int, layer: int) -> str:
        """What each row's first token, [B,width], takes from the keys and values of its row, [T,width]."""
        width = self.parameters_width()
        split = self.const("heads", np.array([0, 0, heads, width // heads]))
        cache = []
        for packed in (keys, values):
            padded = self.op("Reshape", [self.op("Gather", [packed, self.padded_from]), split])
            cache.append(self.op("Transpose", [padded], perm=[0, 2, 1, 3]))
        first = self.op("Unsqueeze", [query, self.axis])
        none = self.const("none", np.array([0]))
        # An empty new key: the past is all there is to attend to, and nothing is written.
        nothing = self.op("Slice", [first, none, none, self.axis])
        attended = self.attention(
            [first, nothing, nothing, *cache, self.last_index, self.longest_int32],
            [f"attention_{layer}"],
            heads,
            0,
        )
        return self.op("Squeeze", [attended, self.axis])

    def parameters_width(self) -> int:
        return int(self.parameters["classifier.weight"].shape[1])
