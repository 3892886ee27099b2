"""Greedy translation over the two graphs of `marian_graphs`: the reference that an export is verified with.

One padded batch at a time; rows that finish leave, and the last row is moved into the hole. Everything a step
reads or writes is bound once per batch size, so a step copies nothing.
"""

from pathlib import Path

import numpy as np
import onnxruntime

_ONNX_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}


def load_session(path: Path, intra_op_threads: int = 1) -> onnxruntime.InferenceSession:
    """A CPU session for one graph file; its external weights are found beside it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class OnnxTranslator:
    """Runs `encoder.onnx` and `decoder.onnx` of one folder, float32 or INT8."""

    def __init__(self, folder: Path, intra_op_threads: int = 1) -> None:
        self.encoder = load_session(folder / "encoder.onnx", intra_op_threads)
        self.decoder = load_session(folder / "decoder.onnx", intra_op_threads)
        properties = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(properties["decoder_start_token_id"])
        self.eos_id = int(properties["eos_token_id"])
        self.pad_id = int(properties["pad_token_id"])
        self.max_positions = int(properties["max_position_embeddings"])
        self._inputs = {node.name: node for node in self.decoder.get_inputs()}
        self._outputs = [node.name for node in self.decoder.get_outputs()]
        self._cross_names = [node.name for node in self.encoder.get_outputs()]

    def encode(
        self, batch: list[list[int]], padded_len: int | None = None
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Cross-attention keys and values (ck0, cv0, ck1, ...) and `src_len` of a right-padded batch."""
        src_len = np.array([len(row) for row in batch], np.int32)
        ids = np.full((len(batch), padded_len or int(src_len.max())), self.pad_id, np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
        return self.encoder.run(self._cross_names, {"input_ids": ids, "src_len": src_len}), src_len

    def buffers(self, cross: list[np.ndarray], src_len: np.ndarray, max_len: int) -> dict[str, np.ndarray]:
        """What a step binds, by input name, and `logits` [B,V]; buffers are of `max_len` tokens."""
        rows = len(src_len)
        tensors = dict(zip(self._cross_names, cross, strict=True))
        tensors["src_len"] = src_len
        tensors["input_ids"] = np.full((rows, 1), self.start_id, np.int64)
        tensors["past_len"] = np.zeros(rows, np.int32)
        for name, node in self._inputs.items():
            if name.startswith("p") and name != "past_len":
                tensors[name] = np.zeros((rows, node.shape[1], max_len, node.shape[3]), np.float32)
        tensors["logits"] = np.empty((rows, self.decoder.get_outputs()[0].shape[1]), np.float32)
        return tensors

    def bind(self, tensors: dict[str, np.ndarray], rows: int) -> onnxruntime.IOBinding:
        """Binds the first `rows` rows of each tensor, `pk{i}` as `ok{i}` too: it is updated in place."""
        binding = self.decoder.io_binding()
        for name, node in self._inputs.items():
            value = tensors[name]
            shape = (rows, *value.shape[1:])
            binding.bind_input(name, "cpu", 0, _ONNX_TYPES[node.type], shape, value.ctypes.data)
        for name in self._outputs:
            value = tensors["logits" if name == "logits" else f"p{name[1:]}"]
            binding.bind_output(name, "cpu", 0, np.float32, (rows, *value.shape[1:]), value.ctypes.data)
        return binding

    def generate(
        self, batch: list[list[int]], max_new_tokens: list[int], min_new_tokens: list[int]
    ) -> list[list[int]]:
        """Greedy tokens of each source (which ends with EOS): without the start token, with the final EOS.

        Row i ends at EOS, but not before `min_new_tokens[i]` tokens, or after `max_new_tokens[i]`.
        Equals Hugging Face `generate(num_beams=1, do_sample=False, forced_eos_token_id=None,
        suppress_tokens=[pad])`. Raises ValueError if a source or a limit exceeds the model's positions.
        """
        if not batch:
            return []
        if max(max_new_tokens) > self.max_positions or max(map(len, batch)) > self.max_positions:
            raise ValueError(f"sources and max_new_tokens must be at most {self.max_positions} tokens")
        tensors = self.buffers(*self.encode(batch), max(max_new_tokens))
        answers: list[list[int]] = [[] for _ in batch]
        rows = [index for index in range(len(batch)) if max_new_tokens[index] > 0]
        for row, index in enumerate(rows):
            self._move(tensors, index, row)
        binding, bound = None, 0
        while rows:
            if binding is None or bound != len(rows):
                binding, bound = self.bind(tensors, len(rows)), len(rows)
            self.decoder.run_with_iobinding(binding)
            scores = tensors["logits"][: len(rows)]
            for row, index in enumerate(rows):
                if len(answers[index]) < min_new_tokens[index]:
                    scores[row, self.eos_id] = -np.inf
            tokens = scores.argmax(axis=1)
            tensors["input_ids"][: len(rows), 0] = tokens
            tensors["past_len"][: len(rows)] += 1
            for row in reversed(range(len(rows))):
                answer = answers[rows[row]]
                answer.append(int(tokens[row]))
                if tokens[row] == self.eos_id or len(answer) == max_new_tokens[rows[row]]:
                    self._move(tensors, len(rows) - 1, row)
                    rows[row] = rows[-1]
                    rows.pop()
        return answers

    @staticmethod
    def _move(tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        if source != target:
            for name, value in tensors.items():
                if name != "logits":
                    value[target] = value[source]
