"""Packed texts in a graph: the tokens of all texts concatenated without padding, [T,width].

Every linear layer and norm runs over real tokens only (the method of ByteTransformer, arXiv:2210.03052).
Attention alone gets padded rows, and reads a row's valid keys.
"""

import numpy as np
from onnx import TensorProto

from model_export.graph_builder import GraphBuilder


class PackedRows:
    """Indices of the tokens of B texts, computed in the graph from their lengths (int32 [B], each >= 1).

    - `starts` int64 [B]: each text's first token;
    - `positions` int64 [T]: each token's position in its text;
    - `packed_at` int64 [T]: its place in the padded rows [B,S], row by row;
    - `padded_from` int64 [B,S]: the token in each padded place, the text's first token in the padding;
    - `last_index`, `longest` int32 [B] and scalar: the lengths as GroupQueryAttention takes them.
    """

    def __init__(self, graph: GraphBuilder, lengths: str) -> None:
        self.graph = graph
        zero, one = graph.const("zero", np.int64(0)), graph.const("one", np.int64(1))
        axis, flat = graph.const("axis", np.array([1])), graph.const("flat", np.array([-1]))
        wide = graph.op("Cast", [lengths], to=TensorProto.INT64)
        self.starts = graph.op("CumSum", [wide, zero], exclusive=1)
        longest = graph.op("ReduceMax", [wide], keepdims=0)
        places = graph.op("Range", [zero, longest, one])
        valid = graph.op("Less", [places, graph.op("Unsqueeze", [wide, axis])])
        offsets = graph.op("Mul", [places, graph.op("Cast", [valid], to=TensorProto.INT64)])
        self.padded_from = graph.op("Add", [graph.op("Unsqueeze", [self.starts, axis]), offsets])
        valid_places = graph.op("NonZero", [graph.op("Reshape", [valid, flat])])
        self.packed_at = graph.op("Reshape", [valid_places, flat])
        self.positions = graph.op("Mod", [self.packed_at, longest])
        self.last_index = graph.op("Sub", [lengths, graph.const("one_int32", np.int32(1))])
        self.longest = graph.op("Cast", [longest], to=TensorProto.INT32)

    def attend(self, qkv: str, width: int, heads: int, name: str) -> str:
        """Self-attention within each text: [T,3*width] to [T,width]."""
        inputs = [self.graph.op("Gather", [qkv, self.padded_from]), "", "", "", ""]
        attended = self.graph.attention([*inputs, self.last_index, self.longest], [name], heads, causal=0)
        rows = self.graph.op("Reshape", [attended, self.graph.const("rows", np.array([-1, width]))])
        return self.graph.op("Gather", [rows, self.packed_at])

    def by_head(self, x: str, width: int, heads: int, output: str = "") -> str:
        """[T,width] as padded rows by head, [B,heads,S,width/heads]."""
        split = self.graph.const("heads", np.array([0, 0, heads, width // heads]))
        padded = self.graph.op("Reshape", [self.graph.op("Gather", [x, self.padded_from]), split])
        return self.graph.op("Transpose", [padded], output, perm=[0, 2, 1, 3])
