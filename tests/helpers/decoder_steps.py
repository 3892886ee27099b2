"""Single steps of a translation decoder's graph, on buffers that a test fills and reads."""

import numpy as np

from optimized.runtime.graphs import Graphs

Tensors = dict[str, np.ndarray]


def encode(graphs: Graphs, batch: list[list[int]]) -> Tensors:
    """Cross-attention keys and values of a batch, padded, by name."""
    names = [node.name for node in graphs.encoder.get_outputs()]
    src_len = np.array([len(source) for source in batch], np.int32)
    packed = {"input_ids": np.concatenate(batch, dtype=np.int64), "src_len": src_len}
    return dict(zip(names, graphs.encoder.run(names, packed), strict=True))


class DecoderSteps:
    """`tensors` are what a step reads and writes, by name; at first those of the first step."""

    def __init__(self, graphs: Graphs, batch: list[list[int]], max_len: int) -> None:
        self.graph = graphs.decoder
        inputs = {node.name: node for node in self.graph.get_inputs()}
        rows, facts = len(batch), self.graph.get_modelmeta().custom_metadata_map
        self.tensors: Tensors = {
            **encode(graphs, batch),
            "src_len": np.array([len(source) for source in batch], np.int32),
            "input_ids": np.full((rows, 1), int(facts["decoder_start_token_id"]), np.int64),
            "past_len": np.zeros(rows, np.int32),
            "forbidden": np.full((rows, 2), -1, np.int64),
            "logits": np.empty((rows, self.graph.get_outputs()[0].shape[1]), np.float32),
            "logits_scale": np.empty((rows, 1), np.float32),
        }
        for name in inputs:
            if name.startswith(("pk", "pv")):
                _, heads, _, head_dim = inputs[name].shape
                self.tensors[name] = np.zeros((rows, heads, max_len, head_dim), graphs.cache_dtype)

    def run(self, rows: int) -> None:
        """A step of the first `rows` rows."""
        binding = self.graph.io_binding()
        for node in self.graph.get_inputs():
            value = self.tensors[node.name][:rows]
            binding.bind_input(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        for node in self.graph.get_outputs():
            # A step writes new keys and values where it reads the past ones.
            value = self.tensors[f"p{node.name[1:]}" if node.name.startswith("o") else node.name][:rows]
            binding.bind_output(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        self.graph.run_with_iobinding(binding)

    def copy_for(self, graphs: Graphs) -> "DecoderSteps":
        """These tensors, copied, for the steps of another kind of graphs of the same model."""
        made = DecoderSteps.__new__(DecoderSteps)
        made.graph, made.tensors = graphs.decoder, {}
        groups = next(node.shape[1] for node in graphs.decoder.get_inputs() if node.name == "pk0")
        for name, value in self.tensors.items():
            made.tensors[name] = value.copy()
            if value.ndim == 4:
                # Keys and values [B,heads,L,head_dim] as these graphs take them.
                rows, heads, tokens, head_dim = value.shape
                grouped = value.reshape(rows, groups, heads // groups, tokens, head_dim)
                kept = grouped.transpose(0, 1, 3, 2, 4).reshape(rows, groups, tokens, -1)
                made.tensors[name] = kept.astype(graphs.cache_dtype)
        return made
