"""Measures the cost of one activation scale per token row in a decoding step, against one per tensor.

`python -m model_export.row_scale_cost --models models-random` builds both INT8 forms of the decoder from the
same float32 graph and times them in one process, alternating, on one thread.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnx
import onnxruntime
import torch
import typer
from transformers import AutoModelForSeq2SeqLM

from dynamic_batching.runtime.graphs import load_session
from model_export.marian_graphs import build_decoder_step
from model_export.row_quantize import RowQuantizer, save_graphs

SOURCE_TOKENS = 20
CACHED_TOKENS = 12
MAX_TOKENS = 64


class TensorQuantizer(RowQuantizer):
    """The same weights with one activation scale per tensor: com.microsoft.DynamicQuantizeMatMul."""

    def run(self) -> onnx.ModelProto:
        self.added = {node.input[0]: node for node in self.model.graph.node if node.op_type == "Add"}
        model = super().run()
        kept = [node for node in model.graph.node if node.name != "absorbed"]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        return model

    def multiply(self, x: str, weight: str, output: str) -> None:
        add = self.added[output]
        matrix, scale = self.int8_matrix(weight)
        self.product_with_bias(x, matrix, scale, add.input[1], add.output[0])
        add.name = "absorbed"

    def project(self, x: str, bias: str, output: str) -> None:
        table, scale = self.embedding()
        matrix = self.op("Transpose", [table], f"{table}.transposed", perm=[1, 0])
        self.product_with_bias(x, matrix, scale, bias, output)

    def product_with_bias(self, x: str, matrix: str, scale: str, bias: str, output: str) -> None:
        inputs = [x, matrix, scale, "", self.half(bias, self.floats[bias])]
        # Under its own key: the absorbed Add is stored under its output's name after this.
        node = onnx.helper.make_node("DynamicQuantizeMatMul", inputs, [output], domain="com.microsoft")
        self.nodes[f"{output}.per_tensor"] = node


class Step:
    """One decoding step of `rows` rows over random caches, with inputs and outputs bound once."""

    def __init__(self, session: onnxruntime.InferenceSession, rows: int) -> None:
        self.session = session
        self.binding = session.io_binding()
        self.tensors: dict[str, np.ndarray] = {}
        draw = np.random.default_rng(0)
        for node in session.get_inputs():
            value = self.input(node, rows, draw)
            self.tensors[node.name] = value
            self.binding.bind_input(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        for node in session.get_outputs():
            if node.name.startswith("logits"):
                self.tensors[node.name] = np.empty((rows, node.shape[1]), np.float32)
            value = self.tensors[f"p{node.name[1:]}" if node.name.startswith("o") else node.name]
            self.binding.bind_output(node.name, "cpu", 0, np.float32, value.shape, value.ctypes.data)

    @staticmethod
    def input(node: Any, rows: int, draw: np.random.Generator) -> np.ndarray:
        if node.name == "input_ids":
            return draw.integers(1, 1_000, (rows, 1))
        if node.name in ("past_len", "src_len"):
            return np.full(rows, CACHED_TOKENS if node.name == "past_len" else SOURCE_TOKENS, np.int32)
        length = MAX_TOKENS if node.name.startswith("p") else SOURCE_TOKENS
        shape = (rows, node.shape[1], length, node.shape[3])
        return draw.standard_normal(shape).astype(np.float32)

    def seconds(self) -> float:
        started_s = time.thread_time()
        self.session.run_with_iobinding(self.binding)
        return time.thread_time() - started_s


def main(
    models: Annotated[Path, typer.Option(help="Folder that optimize_model.py prepared.")] = Path("models"),
    batches: Annotated[str, typer.Option(help="Rows of a step, comma-separated.")] = "1,8,32",
    seconds: Annotated[float, typer.Option(min=1, help="Time for each batch size.")] = 15.0,
) -> None:
    """Prints the median CPU time of a decoding step in both forms, and their ratio."""
    torch.set_num_threads(1)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(models / "translation/pytorch", dtype=torch.float32)
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, quantizer in (("row", RowQuantizer), ("tensor", TensorQuantizer)):
            graph = build_decoder_step(model.eval())
            save_graphs({"decoder.onnx": quantizer(graph).run()}, Path(folder) / name)
            sessions[name] = load_session(Path(folder) / name / "decoder.onnx")
    for rows in map(int, batches.split(",")):
        steps = {name: Step(session, rows) for name, session in sessions.items()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            for name, step in steps.items():
                times[name].append(step.seconds())
        row, tensor = (float(np.median(times[name][1:])) * 1e3 for name in ("row", "tensor"))
        print(
            f"B={rows}: one scale per row {row:.2f} ms, per tensor {tensor:.2f} ms, ratio {row / tensor:.3f}"
        )


if __name__ == "__main__":
    typer.run(main)
