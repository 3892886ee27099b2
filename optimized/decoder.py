"""Greedy decoding of one padded batch over the two translation graphs, on one core.

Every buffer that a step reads or writes is allocated once and bound where it lies, so a step copies no
cache. A row that ends leaves: the last row is moved into its place, and the next step is a row smaller.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

ELEMENT_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
MAX_LEN_STEP = 16


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """A CPU session that runs on the calling thread; external weights are found beside the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Graphs:
    """The encoder and the single-step decoder, shared by every thread: a session's run is thread-safe."""

    encoder: onnxruntime.InferenceSession
    decoder: onnxruntime.InferenceSession

    @classmethod
    def load(cls, folder: Path) -> "Graphs":
        return cls(load_session(folder / "encoder.onnx"), load_session(folder / "decoder.onnx"))


class GreedyDecoder:
    """Decodes batches, one at a time: its buffers serve one batch. Threads share graphs, not decoders."""

    def __init__(self, graphs: Graphs) -> None:
        self.encoder = graphs.encoder
        self.decoder = graphs.decoder
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.pad_id = int(facts["pad_token_id"])
        self.inputs = {node.name: node for node in self.decoder.get_inputs()}
        self.outputs = [node.name for node in self.decoder.get_outputs()]
        self.cross_names = [node.name for node in self.encoder.get_outputs()]
        self.self_names = [name for name in self.inputs if name[:2] in ("pk", "pv")]
        self.vocabulary_size: int = self.decoder.get_outputs()[0].shape[1]
        self.memory: dict[str, np.ndarray] = {}

    def generate(
        self, batch: list[list[int]], max_new_tokens: list[int], fixed_length: bool = False
    ) -> list[list[int]]:
        """The tokens of each source in order, without the start token, with the end token if one was chosen.

        Row i ends at its end token or after `max_new_tokens[i]` tokens; with `fixed_length` the end token is
        never chosen before the last one. The tokens equal Hugging Face's `generate` with num_beams=1,
        do_sample=False, forced_eos_token_id=None and suppress_tokens=[pad].
        """
        answers: list[list[int]] = [[] for _ in batch]
        rows = list(range(len(batch)))
        tensors = self._begin(batch, max(max_new_tokens))
        binding = self._bind(tensors, len(rows))
        while rows:
            self.decoder.run_with_iobinding(binding)
            scores = tensors["logits"][: len(rows)]
            if fixed_length:
                unfinished = [
                    at for at, row in enumerate(rows) if len(answers[row]) + 1 < max_new_tokens[row]
                ]
                scores[unfinished, self.eos_id] = -np.inf
            tokens = scores.argmax(axis=1)
            tensors["input_ids"][: len(rows), 0] = tokens
            tensors["past_len"][: len(rows)] += 1
            count = len(rows)
            for at in reversed(range(count)):
                answer = answers[rows[at]]
                answer.append(int(tokens[at]))
                if tokens[at] == self.eos_id or len(answer) == max_new_tokens[rows[at]]:
                    self._move(tensors, len(rows) - 1, at)
                    rows[at] = rows[-1]
                    rows.pop()
            if rows and len(rows) < count:
                binding = self._bind(tensors, len(rows))
        return answers

    def _begin(self, batch: list[list[int]], max_len: int) -> dict[str, np.ndarray]:
        """Encodes the batch, and gives every tensor that a step binds, by input name, and `logits`."""
        count = len(batch)
        src_len = np.array([len(source) for source in batch], np.int32)
        ids = np.full((count, int(src_len.max())), self.pad_id, np.int64)
        for row, source in enumerate(batch):
            ids[row, : len(source)] = source
        cross = self.encoder.run(self.cross_names, {"input_ids": ids, "src_len": src_len})
        tensors = dict(zip(self.cross_names, cross, strict=True))
        tensors["src_len"] = src_len
        tensors["input_ids"] = np.full((count, 1), self.start_id, np.int64)
        tensors["past_len"] = np.zeros(count, np.int32)
        # Coarse lengths let later batches find the memory of earlier ones warm.
        max_len = -(-max_len // MAX_LEN_STEP) * MAX_LEN_STEP
        for name in self.self_names:
            _, heads, _, head_dim = self.inputs[name].shape
            tensors[name] = self._buffer(name, (count, heads, max_len, head_dim))
        tensors["logits"] = self._buffer("logits", (count, self.vocabulary_size))
        return tensors

    def _buffer(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array of `shape` over memory that is kept and only grows; its content is left over."""
        size = int(np.prod(shape))
        if name not in self.memory or self.memory[name].size < size:
            self.memory[name] = np.empty(size, np.float32)
        return self.memory[name][:size].reshape(shape)

    def _bind(self, tensors: dict[str, np.ndarray], count: int) -> onnxruntime.IOBinding:
        """Binds the first `count` rows; each `pk{i}` also as `ok{i}`, so that it is written in place."""
        binding = self.decoder.io_binding()
        for name, node in self.inputs.items():
            value = tensors[name]
            shape = (count, *value.shape[1:])
            binding.bind_input(name, "cpu", 0, ELEMENT_TYPES[node.type], shape, value.ctypes.data)
        for name in self.outputs:
            value = tensors["logits" if name == "logits" else f"p{name[1:]}"]
            binding.bind_output(name, "cpu", 0, np.float32, (count, *value.shape[1:]), value.ctypes.data)
        return binding

    def _move(self, tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        if source == target:
            return
        length = int(tensors["past_len"][source])
        for name, value in tensors.items():
            if name in self.self_names:
                value[target, :, :length] = value[source, :, :length]
            elif name != "logits":
                value[target] = value[source]
