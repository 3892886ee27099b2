"""The sentiment classifier as one float32 ONNX graph: Optimum's export, fused by ONNX Runtime's optimizer."""

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import main_export

from model_export.marian_graphs import EMBEDDING, OPSET

logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)


def export_sentiment(folder: Path, output: Path) -> None:
    """Writes Optimum's export of the PyTorch model in `folder` to `output`/model.onnx, unchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main_export(
            str(folder),
            output=output,
            task="text-classification",
            opset=OPSET,
            do_validation=False,
            no_post_process=True,
            local_files_only=True,
        )


def build_sentiment(folder: Path) -> onnx.ModelProto:
    """The exported model with attention and GELU fused for its architecture, ready to be quantized.

    Inputs: `input_ids`, `attention_mask` int64 [B,S], right-padded; output: `logits` float32 [B,2].
    Layer norms stay apart from their sums (FusionOptions.enable_skip_layer_norm off): ONNX Runtime's fused
    CPU kernel is several times slower than the two nodes.
    """
    config = read_config(folder)
    options = FusionOptions("bert")
    options.use_multi_head_attention = True
    options.enable_skip_layer_norm = False
    options.enable_bias_skip_layer_norm = False
    options.enable_embed_layer_norm = False
    options.enable_bias_gelu = False
    with tempfile.TemporaryDirectory() as exported:
        export_sentiment(folder, Path(exported))
        fused = optimize_model(
            str(Path(exported) / "model.onnx"),
            model_type="bert",
            num_heads=config.get("n_heads") or config["num_attention_heads"],
            hidden_size=config.get("dim") or config["hidden_size"],
            opt_level=0,
            optimization_options=options,
        ).model
    _constants_to_initializers(fused.graph)
    _drop_token_types(fused.graph)
    _name_embedding(fused.graph)
    return fused


def read_config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    kept = []
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _drop_token_types(graph: onnx.GraphProto) -> None:
    """BERT's second input is all zeros for single texts; it is made from the first one instead."""
    kept = [value for value in graph.input if value.name != "token_type_ids"]
    if len(kept) < len(graph.input):
        del graph.input[:]
        graph.input.extend(kept)
        zeros = helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"], "token_type_ids")
        graph.node.insert(0, zeros)


def _name_embedding(graph: onnx.GraphProto) -> None:
    """Gives the word embedding the name under which the quantizer looks for it."""
    (gather,) = (node for node in graph.node if node.op_type == "Gather" and node.input[1] == "input_ids")
    (table,) = (tensor for tensor in graph.initializer if tensor.name == gather.input[0])
    table.name = gather.input[0] = EMBEDDING
