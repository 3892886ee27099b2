"""Greedy decoding of one padded batch over the two translation graphs, on one core.

Every buffer that a step reads or writes is allocated once and bound where it lies, so a step copies no
cache. A row that ends leaves: the last row is moved into its place, and the next step is a row smaller.
"""

import numpy as np
import onnxruntime

from .graphs import Graphs

ELEMENT_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}
MAX_LEN_STEP = 16


class GreedyDecoder:
    """Decodes batches, one at a time: its buffers serve one batch. Threads share graphs, not decoders."""

    def __init__(self, graphs: Graphs) -> None:
        self.encoder = graphs.encoder
        self.decoder = graphs.decoder
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.pad_id = int(facts["pad_token_id"])
        self.max_positions = int(facts["max_position_embeddings"])
        self._inputs = {node.name: node for node in self.decoder.get_inputs()}
        self._outputs = [node.name for node in self.decoder.get_outputs()]
        self._cross_names = [node.name for node in self.encoder.get_outputs()]
        self._self_names = [name for name in self._inputs if name.startswith(("pk", "pv"))]
        self._vocabulary_size: int = self.decoder.get_outputs()[0].shape[1]
        self._memory: dict[str, np.ndarray] = {}

    def generate(
        self, batch: list[list[int]], max_new_tokens: list[int], min_new_tokens: list[int]
    ) -> list[list[int]]:
        """Greedy tokens of each source, in order: without the start token, with the end token if chosen.

        Row i ends at its end token or after `max_new_tokens[i]` tokens; the end token is not chosen before
        `min_new_tokens[i]` others. The tokens are those of Hugging Face's `generate` with num_beams=1,
        do_sample=False, forced_eos_token_id=None and suppress_tokens=[pad]. Raises ValueError if a source
        or a limit exceeds the model's positions.
        """
        if not batch:
            return []
        self.check(batch, max_new_tokens)
        tensors = self.buffers(*self.encode(batch), max(max_new_tokens))
        answers: list[list[int]] = [[] for _ in batch]
        rows = [index for index in range(len(batch)) if max_new_tokens[index] > 0]
        for row, index in enumerate(rows):
            self.move(tensors, index, row)
        binding, bound = None, 0
        while rows:
            if binding is None or bound != len(rows):
                binding, bound = self.bind(tensors, len(rows)), len(rows)
            self.decoder.run_with_iobinding(binding)
            scores = tensors["logits"][:bound]
            scores[:, self.pad_id] = -np.inf
            for row, index in enumerate(rows):
                if len(answers[index]) < min_new_tokens[index]:
                    scores[row, self.eos_id] = -np.inf
            tokens = scores.argmax(axis=1)
            tensors["input_ids"][:bound, 0] = tokens
            tensors["past_len"][:bound] += 1
            for row in reversed(range(bound)):
                answer = answers[rows[row]]
                answer.append(int(tokens[row]))
                if tokens[row] == self.eos_id or len(answer) == max_new_tokens[rows[row]]:
                    self.move(tensors, len(rows) - 1, row)
                    rows[row] = rows[-1]
                    rows.pop()
        return answers

    def check(self, batch: list[list[int]], max_new_tokens: list[int]) -> None:
        """ValueError if a source or a limit exceeds the model's positions."""
        if max([*max_new_tokens, *map(len, batch)], default=0) > self.max_positions:
            raise ValueError(f"sources and max_new_tokens must be at most {self.max_positions} tokens")

    def encode(self, batch: list[list[int]]) -> tuple[list[np.ndarray], np.ndarray]:
        """Cross-attention keys and values (ck0, cv0, ck1, ...) of a batch, padded, and its `src_len`."""
        src_len = np.array([len(source) for source in batch], np.int32)
        packed = {"input_ids": np.concatenate(batch, dtype=np.int64), "src_len": src_len}
        return self.encoder.run(self._cross_names, packed), src_len

    def buffers(self, cross: list[np.ndarray], src_len: np.ndarray, max_len: int) -> dict[str, np.ndarray]:
        """Every tensor that a step binds, by input name, and `logits` [B,V] with its scales [B,1].

        The self-attention buffers hold what earlier batches left; a step reads only what its row wrote.
        """
        count = len(src_len)
        tensors = dict(zip(self._cross_names, cross, strict=True))
        tensors["src_len"] = src_len
        tensors["input_ids"] = np.full((count, 1), self.start_id, np.int64)
        tensors["past_len"] = np.zeros(count, np.int32)
        # Coarse lengths let a batch find the memory of earlier ones warm.
        max_len = -(-max(max_len, 1) // MAX_LEN_STEP) * MAX_LEN_STEP
        for name in self._self_names:
            _, heads, _, head_dim = self._inputs[name].shape
            tensors[name] = self._kept(name, (count, heads, max_len, head_dim))
        tensors["logits"] = self._kept("logits", (count, self._vocabulary_size))
        tensors["logits_scale"] = np.empty((count, 1), np.float32)
        return tensors

    def bind(self, tensors: dict[str, np.ndarray], rows: int) -> onnxruntime.IOBinding:
        """Binds the first `rows` rows; each `pk{i}` also as `ok{i}`, so that it is written in place."""
        binding = self.decoder.io_binding()
        for name, node in self._inputs.items():
            value = tensors[name]
            shape = (rows, *value.shape[1:])
            binding.bind_input(name, "cpu", 0, ELEMENT_TYPES[node.type], shape, value.ctypes.data)
        for name in self._outputs:
            value = tensors[f"p{name[1:]}" if name.startswith("o") else name]
            binding.bind_output(name, "cpu", 0, np.float32, (rows, *value.shape[1:]), value.ctypes.data)
        return binding

    def _kept(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array of `shape` over memory that stays allocated and only grows."""
        size = int(np.prod(shape))
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.zeros(size, np.float32)
        return self._memory[name][:size].reshape(shape)

    def move(self, tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        """Copies a row, all but its logits, into another's place."""
        if source == target:
            return
        self.move_past(tensors, source, target)
        for name, value in tensors.items():
            if name not in self._self_names and name not in self._outputs:
                value[target] = value[source]

    def move_past(self, tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        """Copies what a row has in its self-attention buffers over another's."""
        length = int(tensors["past_len"][source])
        for name in self._self_names:
            tensors[name][target, :, :length] = tensors[name][source, :, :length]
