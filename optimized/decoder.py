"""Greedy decoding of one padded batch over the two translation graphs, on one core.

Every buffer that a step reads or writes is allocated once and bound where it lies, so a step copies no
cache. A row that ends leaves: the last row is moved into its place, and the next step is a row smaller.
"""

import numpy as np
import onnxruntime

from .graphs import Graphs

MAX_LEN_STEP = 16
STEP_OUTPUTS = ("logits", "logits_scale", "next_ids")


class GreedyDecoder:
    """Decodes batches, one at a time: its buffers serve one batch. Threads share graphs, not decoders."""

    def __init__(self, graphs: Graphs) -> None:
        self.encoder = graphs.encoder
        self.decoder = graphs.decoder
        self.greedy = graphs.greedy
        self._cache_dtype = graphs.cache_dtype
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.pad_id = int(facts["pad_token_id"])
        self.max_positions = int(facts["max_position_embeddings"])
        self._inputs = {node.name: node for node in self.decoder.get_inputs()}
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
        graph = self.greedy or self.decoder
        binding, bound = None, 0
        while rows:
            if binding is None or bound != len(rows):
                binding, bound = self.bind(graph, tensors, len(rows)), len(rows)
            for row, index in enumerate(rows):
                early = len(answers[index]) < min_new_tokens[index]
                tensors["forbidden"][row] = self.pad_id, self.eos_id if early else -1
            graph.run_with_iobinding(binding)
            tokens = self.chosen(tensors, bound)
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

    def chosen(self, tensors: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """The best token of each row that is not forbidden, int64 [rows]."""
        if self.greedy is not None:
            return tensors["next_ids"][:rows, 0]
        scores = tensors["logits"][:rows]
        for row, forbidden in enumerate(tensors["forbidden"][:rows]):
            scores[row, forbidden[forbidden >= 0]] = -np.inf
        return scores.argmax(axis=1)

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
        """Every tensor that a step binds, by name.

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
            tensors[name] = self._kept(name, (count, heads, max_len, head_dim), self._cache_dtype)
        tensors["logits"] = self._kept("logits", (count, self._vocabulary_size), np.dtype(np.float32))
        tensors["logits_scale"] = np.empty((count, 1), np.float32)
        tensors["forbidden"] = np.full((count, 2), -1, np.int64)
        tensors["next_ids"] = np.empty((count, 1), np.int64)
        return tensors

    def bind(
        self, graph: onnxruntime.InferenceSession, tensors: dict[str, np.ndarray], rows: int
    ) -> onnxruntime.IOBinding:
        """Binds the first `rows` rows; each `pk{i}` also as `ok{i}`, so that it is written in place."""
        binding = graph.io_binding()
        for node in graph.get_inputs():
            value = tensors[node.name][:rows]
            binding.bind_input(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        for node in graph.get_outputs():
            name = f"p{node.name[1:]}" if node.name.startswith("o") else node.name
            value = tensors[name][:rows]
            binding.bind_output(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        return binding

    def _kept(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of `shape` over memory that stays allocated and only grows."""
        size = int(np.prod(shape))
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.zeros(size, dtype)
        return self._memory[name][:size].reshape(shape)

    def move(self, tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        """Copies a row, all but its logits, into another's place."""
        if source == target:
            return
        self.move_past(tensors, source, target)
        for name, value in tensors.items():
            if name not in self._self_names and name not in STEP_OUTPUTS:
                value[target] = value[source]

    def move_past(self, tensors: dict[str, np.ndarray], source: int, target: int) -> None:
        """Copies what a row has in its self-attention buffers over another's."""
        length = int(tensors["past_len"][source])
        for name in self._self_names:
            tensors[name][target, :, :length] = tensors[name][source, :, :length]
