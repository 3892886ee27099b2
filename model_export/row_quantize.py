"""Rewrites float32 graphs to INT8 in ONNX Runtime's own operators, and writes graphs with shared weights.

Weights get one int8 scale per output channel, activations one per token row, measured at every call, so an
answer cannot depend on its batch. (With one scale per tensor, an outlier in another text changes it.)
"""

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from dynamic_batching.runtime.weights import TABLE_FILE, WEIGHTS_FILE
from model_export.graph_builder import EMBEDDING, LOGITS_SCALE
from model_export.graph_rewriter import GraphRewriter, int8_rows

_ALIGNMENT = 64
_INLINE_BYTES = 64
# Weights of this size or more are read into memory by the server itself.
_LARGE_BYTES = 1 << 16


def quantize_rows(
    graphs: dict[str, onnx.ModelProto], float32_layers: Collection[str] = ()
) -> dict[str, onnx.ModelProto]:
    """The INT8 form of graphs that read the token ids `input_ids`, by file name.

    Every MatMul with a constant weight, the embedding and the output projection become int8 (symmetric, one
    scale per output channel) except `float32_layers`; other constants are stored as float16. Inputs and
    outputs keep their names and shapes. Unless the model has a final bias, a decoder's `logits` must be
    multiplied by `logits_scale`, one number per row (0 where all are 0): argmax needs no multiplication, so a
    pass over all logits is saved.
    Method: QuantizeLinear with one block a row (ONNX opset 21), MatMulIntegerToFloat (com.microsoft).
    """
    return {name: RowQuantizer(model, float32_layers).run() for name, model in graphs.items()}


def save_graphs(graphs: dict[str, onnx.ModelProto], folder: Path) -> None:
    """Writes each graph to its file name, and all weights once to a shared `weights.bin`.

    `weights.json` has dtype, shape and offset of the large weights, by graph and name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    offsets: dict[bytes, int] = {}
    table: dict[str, dict[str, tuple[str, list[int], int]]] = {name: {} for name in graphs}
    with (folder / WEIGHTS_FILE).open("wb") as weights:
        for name, model in graphs.items():
            written = onnx.ModelProto()
            written.CopyFrom(model)
            for tensor in written.graph.initializer:
                data = tensor.raw_data
                if len(data) > _INLINE_BYTES:
                    if data not in offsets:
                        weights.write(bytes(-weights.tell() % _ALIGNMENT))
                        offsets[data] = weights.tell()
                        weights.write(data)
                    if len(data) >= _LARGE_BYTES:
                        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type).name
                        table[name][tensor.name] = kind, [*tensor.dims], offsets[data]
                    place = {"location": WEIGHTS_FILE, "offset": offsets[data], "length": len(data)}
                    tensor.ClearField("raw_data")
                    tensor.data_location = TensorProto.EXTERNAL
                    for key, value in place.items():
                        tensor.external_data.add(key=key, value=str(value))
            (folder / name).write_bytes(written.SerializeToString())
    (folder / TABLE_FILE).write_text(json.dumps(table))


class RowQuantizer(GraphRewriter):
    """Rewrites one graph to INT8 in ONNX Runtime's own operators."""

    def run(self) -> onnx.ModelProto:
        for node in self.model.graph.node:
            match node.op_type, list(node.input):
                case "Gather", [table, ids] if table == EMBEDDING and table in self.floats:
                    self.embed(ids, node.output[0])
                case "MatMul", [x, weight] if weight in self.floats:
                    self.multiply(x, weight, node.output[0])
                case "Gemm", [x, table, bias] if table == EMBEDDING and table in self.floats:
                    self.project(x, bias, node.output[0])
                case _ if node.output[0] in self.nodes:
                    pass  # the constant logits_scale of 1, replaced by that of the projection
                case _:
                    self.keep(node)
        return self.rewritten()

    def embed(self, ids: str, output: str) -> None:
        table, scale = self.embedding()
        column = self.op("Unsqueeze", [scale, self.const("1", np.array([1]))], f"{scale}.column")
        codes = self.op("Gather", [table, ids], f"{output}.i8")
        scales = self.op("Gather", [column, ids], f"{output}.scale")
        width = self.floats[EMBEDDING].shape[1]
        self.op("DequantizeLinear", [codes, scales], output, axis=-1, block_size=width)

    def multiply(self, x: str, weight: str, output: str) -> None:
        stored, column_scale = self.int8_matrix(weight)
        quantized, row_scale = self.activation(x, len(self.floats[weight]))
        product = self.product(quantized, stored, column_scale, f"{output}.unscaled")
        # Not as MatMulInteger, Cast and Mul by both scales: ONNX Runtime's MatMulIntegerToFloatFusion would
        # silently treat that as one scale per tensor.
        self.op("Mul", [product, row_scale], output)

    def project(self, x: str, bias: str, output: str) -> None:
        values = self.floats[bias]
        table, scale = self.embedding()
        quantized, row_scale = self.activation(x, self.floats[EMBEDDING].shape[1])
        matrix = self.op("Transpose", [table], f"{table}.transposed", perm=[1, 0])
        if not values.any():
            self.product(quantized, matrix, scale, output)
            self.op("Identity", [row_scale], LOGITS_SCALE)
            return
        product = self.product(quantized, matrix, scale, f"{output}.unscaled")
        scaled = self.op("Mul", [product, row_scale], f"{output}.unbiased")
        self.op("Add", [scaled, self.half(bias, values)], output)

    def int8_matrix(self, weight: str) -> tuple[str, str]:
        """The codes [K,N] and channel scales [N] of a float32 weight [K,N]."""
        codes, scale = int8_rows(self.floats[weight].T)
        return self.const(f"{weight}.i8", codes.T), self.half(f"{weight}.scale", scale)

    def embedding(self) -> tuple[str, str]:
        codes, scale = int8_rows(self.floats[EMBEDDING])
        return self.const(f"{EMBEDDING}.i8", codes), self.half(f"{EMBEDDING}.scale", scale)

    def activation(self, x: str, width: int) -> tuple[str, str]:
        """uint8 codes of `x` [..,width], zero point 128, and its row scales [..,1]."""
        magnitude = self.op("Abs", [x], f"{x}.abs")
        largest = self.op("ReduceMax", [magnitude, self.const("-1", np.array([-1]))], f"{x}.max", keepdims=1)
        # A row of zeros has scale 0 and undefined codes; times that scale, its product is zero again.
        scale = self.op("Mul", [largest, self.const("1/127", np.float32(1 / 127))], f"{x}.scale")
        # One zero point a row, whatever the shape: any scale over this divisor rounds to 0, so to code 128.
        huge, zero = self.const("huge", np.float32(1e38)), self.const("128", np.uint8(128))
        zeros = self.op("QuantizeLinear", [scale, huge, zero], f"{x}.zeros")
        return self.op("QuantizeLinear", [x, scale, zeros], f"{x}.u8", axis=-1, block_size=width), scale

    def product(self, codes: str, matrix: str, scale: str, output: str) -> str:
        """Codes times an int8 matrix with its channel scales, without the row scales."""
        one, zero = self.const("1.0", np.float32(1)), self.const("128", np.uint8(128))
        return self.op(
            "MatMulIntegerToFloat", [codes, matrix, one, scale, zero], output, domain="com.microsoft"
        )
