"""Decoding of one batch over the translation graphs, greedily or with beams, on one core.

Every buffer that a step reads or writes is allocated once and bound where it lies, so a step copies no
cache. A text that ends leaves: the rows of the last one move into its place, and the next step is smaller.
"""

import numpy as np
import onnxruntime

from .runtime.beam_search import BeamSearch, placed
from .runtime.graphs import Graphs

MAX_LEN_STEP = 16
STEP_OUTPUTS = {"logits", "logits_scale", "next_ids"}
Batch = list[list[int]]


class Decoder:
    """Decodes batches, one at a time: its buffers serve one batch. Threads share graphs, not decoders.

    The beams of a text are rows side by side, in any order. Each holds the whole source again: 2 * layers *
    d_model * 4 bytes a source token, so 24 KiB with 6 layers of 512.
    """

    def __init__(self, graphs: Graphs) -> None:
        self.encoder, self.decoder, self.greedy = graphs.encoder, graphs.decoder, graphs.greedy
        facts = self.decoder.get_modelmeta().custom_metadata_map
        self.start_id = int(facts["decoder_start_token_id"])
        self.eos_id = int(facts["eos_token_id"])
        self.pad_id = int(facts["pad_token_id"])
        self.max_positions = int(facts["max_position_embeddings"])
        self._cache_dtype = graphs.cache_dtype
        self._cross_names = [node.name for node in self.encoder.get_outputs()]
        shapes = {node.name: node.shape for node in self.decoder.get_inputs()}
        self._past_shapes = {name: shape for name, shape in shapes.items() if name.startswith(("pk", "pv"))}
        self._vocabulary_size: int = self.decoder.get_outputs()[0].shape[1]
        self._memory: dict[str, np.ndarray] = {}

    def generate(
        self, batch: Batch, max_new_tokens: list[int], min_new_tokens: list[int], num_beams: int = 1
    ) -> Batch:
        """Tokens of each source, in order: without the start token, with the end token if chosen.

        The limits are each text's, and the tokens those of Hugging Face's `generate` with do_sample=False,
        early_stopping=False, length_penalty=1.0, forced_eos_token_id=None and suppress_tokens=[pad]. Raises
        ValueError if a source or a limit exceeds the model's positions.
        """
        if max([*max_new_tokens, *map(len, batch)], default=0) > self.max_positions:
            raise ValueError(f"sources and max_new_tokens must be at most {self.max_positions} tokens")
        answers: Batch = [[] for _ in batch]
        texts = [index for index, limit in enumerate(max_new_tokens) if limit > 0]
        if not texts:
            return answers
        limits = [(max_new_tokens[text], min_new_tokens[text]) for text in texts]
        self._tensors = tensors = self._buffers([batch[text] for text in texts], limits, num_beams)
        graph, searches, rows_of = self.greedy or self.decoder, [], []
        if num_beams > 1:
            graph = self.decoder
            searches = [BeamSearch(num_beams, *limit, self.eos_id, self.pad_id) for limit in limits]
            rows_of = np.arange(len(texts) * num_beams).reshape(len(texts), num_beams).tolist()
        bound = 0
        while texts:
            if bound != len(texts) * num_beams:
                bound = len(texts) * num_beams
                binding = self._bind(graph, bound)
            past_len = tensors["past_len"][:bound]
            tensors["forbidden"][:bound, 1] = np.where(past_len < tensors["min_new"][:bound], self.eos_id, -1)
            graph.run_with_iobinding(binding)
            past_len += 1
            if searches:
                rows_of = [self._advance(*each) for each in zip(searches, rows_of, strict=True)]
                ended = [place for place, search in enumerate(searches) if search.finished]
                for place in ended:
                    answers[texts[place]] = searches[place].best
            else:
                tokens = tensors["input_ids"][:bound, 0] = self._choose(bound)
                for text, token in zip(texts, tokens.tolist(), strict=True):
                    answers[text].append(token)
                done = (tokens == self.eos_id) | (past_len == tensors["max_new"][:bound])
                ended = np.flatnonzero(done).tolist()
            for place in reversed(ended):
                # The last text comes into the place of this one.
                moved = (len(texts) - 1 - place) * num_beams
                for row in range(place * num_beams, (place + 1) * num_beams):
                    self._move(row + moved, row)
                if searches:
                    rows_of[place] = [row - moved for row in rows_of[-1]]
                    searches[place] = searches[-1]
                    del rows_of[-1], searches[-1]
                texts[place] = texts[-1]
                texts.pop()
        return answers

    def _advance(self, search: BeamSearch, rows: list[int]) -> list[int]:
        """Goes on by a token with the beams in `rows`; the rows that they have then."""
        tensors = self._tensors
        scales = tensors["logits_scale"][rows, 0].tolist()
        parents = search.advance([tensors["logits"][row] for row in rows], scales)
        if not search.finished:
            rows, copies = placed(parents, rows)
            for source, target in copies:
                self._move_past(source, target)
            tensors["input_ids"][rows, 0] = search.last_tokens
        return rows

    def _choose(self, rows: int) -> np.ndarray:
        """The best token of each row that is not forbidden, int64 [rows]."""
        if self.greedy is not None:
            return self._tensors["next_ids"][:rows, 0]
        scores = self._tensors["logits"][:rows]
        scores[:, self.pad_id] = -np.inf
        scores[self._tensors["forbidden"][:rows, 1] >= 0, self.eos_id] = -np.inf
        return scores.argmax(axis=1)

    def _buffers(self, batch: Batch, limits: list[tuple[int, int]], num_beams: int) -> dict[str, np.ndarray]:
        """Every tensor that a step binds, by name, with a row a beam, and each row's limits.

        The self-attention buffers hold what earlier batches left; a step reads only what its row wrote.
        """
        src_len = np.array([len(source) for source in batch], np.int32)
        packed = {"input_ids": np.concatenate(batch, dtype=np.int64), "src_len": src_len}
        tensors = dict(zip(self._cross_names, self.encoder.run(self._cross_names, packed), strict=True))
        tensors["src_len"] = src_len
        tensors["max_new"], tensors["min_new"] = np.array(limits, np.int32).T.copy()
        if num_beams > 1:
            tensors = {name: np.repeat(value, num_beams, axis=0) for name, value in tensors.items()}
        count = len(batch) * num_beams
        tensors["input_ids"] = np.full((count, 1), self.start_id, np.int64)
        tensors["past_len"] = np.zeros(count, np.int32)
        tensors["forbidden"] = np.full((count, 2), (self.pad_id, -1), np.int64)
        # Coarse lengths let a batch find the memory of earlier ones warm.
        max_len = -(-int(tensors["max_new"].max()) // MAX_LEN_STEP) * MAX_LEN_STEP
        for name, (_, heads, _, head_dim) in self._past_shapes.items():
            tensors[name] = self._kept(name, (count, heads, max_len, head_dim), self._cache_dtype)
        tensors["logits"] = self._kept("logits", (count, self._vocabulary_size), np.dtype(np.float32))
        tensors["logits_scale"] = np.empty((count, 1), np.float32)
        tensors["next_ids"] = np.empty((count, 1), np.int64)
        return tensors

    def _bind(self, graph: onnxruntime.InferenceSession, rows: int) -> onnxruntime.IOBinding:
        """Binds the first `rows` rows; each `pk{i}` also as `ok{i}`, so that it is written in place."""
        binding = graph.io_binding()
        for node in graph.get_inputs():
            value = self._tensors[node.name][:rows]
            binding.bind_input(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        for node in graph.get_outputs():
            name = f"p{node.name[1:]}" if node.name.startswith("o") else node.name
            value = self._tensors[name][:rows]
            binding.bind_output(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        return binding

    def _kept(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of `shape` over memory that stays allocated and only grows."""
        size = int(np.prod(shape))
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.zeros(size, dtype)
        return self._memory[name][:size].reshape(shape)

    def _move(self, source: int, target: int) -> None:
        """Copies a row, all but what a step gives, into another's place."""
        if source != target:
            self._move_past(source, target)
            for name in self._tensors.keys() - self._past_shapes.keys() - STEP_OUTPUTS:
                self._tensors[name][target] = self._tensors[name][source]

    def _move_past(self, source: int, target: int) -> None:
        """Copies what a row has in its self-attention buffers over another's."""
        length = int(self._tensors["past_len"][source])
        for name in self._past_shapes:
            self._tensors[name][target, :, :length] = self._tensors[name][source, :, :length]
