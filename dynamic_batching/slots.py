"""What the rows of a decoder hold, in memory that is reserved once and never moves: row i is slot i."""

import mmap

import numpy as np
import onnxruntime

from .runtime.graphs import Graphs

MIN_STRIDE = 128
# A row that leaves gives back what it took beyond this many times the mean length of those before it.
UNUSUAL_RATIO = 2
LENGTH_EWMA_ALPHA = 0.01


class KeyValues:
    """Tensors [slots,heads,stride,head_dim], one behind the other, which graphs use where they lie.

    The native kernels have all heads of a token side by side, which here is one head of the model's width.
    `stride` is how many tokens a slot has room for. It changes only by `fit`: as short as the rows allow,
    because rows that lie far apart cost a step some percent.
    """

    def __init__(
        self, tensors: int, slots: int, heads: int, max_len: int, head_dim: int, dtype: np.dtype
    ) -> None:
        self.max_len = max_len
        self.stride = min(MIN_STRIDE, max_len)
        self._shape = (tensors, slots, heads, head_dim)
        self._usual = float(min(MIN_STRIDE, max_len))
        # A page takes memory only once a row reaches it. Numpy's own allocation asks for huge pages, which
        # would make the padding of every row resident.
        size = dtype.itemsize * tensors * slots * heads * max_len * head_dim
        self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._memory = np.frombuffer(self._pages, dtype)
        self.tensors = self._laid_out(self.stride)

    def fit(self, needed: int, slots: int, used: int) -> None:
        """Sets the stride for rows of up to `needed` tokens.

        Keeps the first `used` tokens of the first `slots` slots; where the stride changes, pointers taken
        before are void.
        """
        stride = MIN_STRIDE
        while stride < needed:
            stride *= 2
        stride = min(stride, self.max_len)
        if stride == self.stride:
            return
        before, after = self.tensors, self._laid_out(stride)
        order = range(len(after))
        # Never over a tensor that is still to be moved; within one, numpy sees the overlap.
        for i in order if stride < self.stride else reversed(order):
            after[i, :slots, :, :used] = before[i, :slots, :, :used]
        self._give_back(after.nbytes, before.nbytes)
        self.tensors, self.stride = after, stride

    def write(self, slot: int, tensors: list[np.ndarray], row: int, length: int) -> None:
        """Fills a slot with the first `length` tokens of a row of `tensors`, each [B,heads,S,head_dim]."""
        for kept, tensor in zip(self.tensors, tensors, strict=True):
            kept[slot, :, :length] = tensor[row, :, :length]

    def move(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` tokens of one slot over another's, in all tensors."""
        self.tensors[:, target, :, :length] = self.tensors[:, source, :, :length]

    def release(self, slot: int, length: int) -> None:
        """Says that a row of `length` tokens has left a slot; an unusually long one gives its memory back.

        Else every slot would in time keep what its longest row ever took. What rows commonly need stays, for
        the next one would ask for it again.
        """
        kept = UNUSUAL_RATIO * self._usual
        self._usual += LENGTH_EWMA_ALPHA * (length - self._usual)
        if length <= kept:
            return
        of_head, of_token = self.tensors.strides[2:4]
        for rows in self.tensors[:, slot]:
            start = rows.ctypes.data - self._memory.ctypes.data
            for head_start in range(start, start + rows.nbytes, of_head):
                self._give_back(head_start + int(kept) * of_token, head_start + of_head)

    def _give_back(self, start: int, end: int) -> None:
        """Returns the whole pages from byte `start` to byte `end` to the system; they read as zeros then."""
        first, last = -(-start // mmap.PAGESIZE), end // mmap.PAGESIZE
        if first < last:
            self._pages.madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE)

    def _laid_out(self, stride: int) -> np.ndarray:
        tensors, slots, heads, head_dim = self._shape
        size = tensors * slots * heads * stride * head_dim
        return self._memory[:size].reshape(tensors, slots, heads, stride, head_dim)


class Slots:
    """All that the decoder graph reads and writes of `count` rows, and what was chosen and is still wanted.

    `input_ids`, `past_len`, `src_len` and `forbidden` are the graphs' inputs of these names, `logits`,
    `logits_scale` and `next_ids` their outputs. A row's past tokens are those it has chosen: `answers` up to
    `past_len`.
    """

    def __init__(self, graphs: Graphs, count: int, max_len: int) -> None:
        inputs = {node.name: node for node in graphs.decoder.get_inputs()}
        self._self_names = [name for name in inputs if name.startswith(("pk", "pv"))]
        self.cross_names = [name for name in inputs if name.startswith(("ck", "cv"))]
        _, heads, _, head_dim = inputs["pk0"].shape
        layout = count, heads, max_len, head_dim, graphs.cache_dtype
        self._past = KeyValues(len(self._self_names), *layout)
        self._cross = KeyValues(len(self.cross_names), *layout)
        self.logits = np.empty((count, graphs.decoder.get_outputs()[0].shape[1]), np.float32)
        self.logits_scale = np.empty((count, 1), np.float32)
        self.next_ids = np.empty((count, 1), np.int64)
        self.forbidden = np.full((count, 2), -1, np.int64)
        self.input_ids = np.zeros((count, 1), np.int64)
        self.past_len = np.zeros(count, np.int32)
        self.src_len = np.ones(count, np.int32)
        self.max_new = np.zeros(count, np.int32)
        self.min_new = np.zeros(count, np.int32)
        self.answers = np.zeros((count, max_len), np.int64)
        self._bindings: dict[tuple[object, int, int, int], onnxruntime.IOBinding] = {}

    def fit(self, occupied: list[int], src_len: int, max_new: int) -> None:
        """Gives each slot room for the longest row: of `occupied`, or a new one of these tokens."""
        used_slots = max(occupied, default=-1) + 1
        for keys, limits, used, needed in (
            (self._past, self.max_new, self.past_len, max_new),
            (self._cross, self.src_len, self.src_len, src_len),
        ):
            longest = limits[occupied].max(initial=needed)
            keys.fit(int(longest), used_slots, int(used[occupied].max(initial=0)))

    def fill(self, slot: int, cross: list[np.ndarray], row: int, src_len: int) -> None:
        """Starts a row from row `row` of what the encoder gave, in the order of `cross_names`."""
        self._cross.write(slot, cross, row, src_len)
        self.src_len[slot] = src_len
        self.past_len[slot] = 0

    def leave(self, slot: int) -> None:
        """Says that the row in a slot is no longer wanted there."""
        self._past.release(slot, int(self.past_len[slot]))
        self._cross.release(slot, int(self.src_len[slot]))

    def move(self, source: int, target: int) -> None:
        """Takes a row into another slot."""
        self._past.move(source, target, self.past_len[source])
        self._cross.move(source, target, self.src_len[source])
        for values in (self.input_ids, self.past_len, self.src_len, self.max_new, self.min_new, self.answers):
            values[target] = values[source]
        self.leave(source)

    def copy_past(self, source: int, target: int) -> None:
        """Lets a row go on from another's past tokens; of a beam's past the rest is the same."""
        self._past.move(source, target, self.past_len[source])

    def binding(self, graph: onnxruntime.InferenceSession, rows: int) -> onnxruntime.IOBinding:
        """A binding of the first `rows` slots, kept for the next time."""
        layout = (graph, rows, self._past.stride, self._cross.stride)
        if layout not in self._bindings:
            self._bindings[layout] = self.bind(graph, 0, rows)
        return self._bindings[layout]

    def bind(self, graph: onnxruntime.InferenceSession, start: int, rows: int) -> onnxruntime.IOBinding:
        """Binds `rows` slots from `start`; each `pk{i}` also as `ok{i}`, so that it is written in place."""
        tensors: dict[str, np.ndarray] = {"input_ids": self.input_ids, "forbidden": self.forbidden}
        tensors.update({"past_len": self.past_len, "src_len": self.src_len, "next_ids": self.next_ids})
        tensors.update({"logits": self.logits, "logits_scale": self.logits_scale})
        tensors.update(zip(self._self_names, self._past.tensors, strict=True))
        tensors.update(zip(self.cross_names, self._cross.tensors, strict=True))
        binding = graph.io_binding()
        for node in graph.get_inputs():
            value = tensors[node.name][start : start + rows]
            binding.bind_input(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        for node in graph.get_outputs():
            name = f"p{node.name[1:]}" if node.name.startswith("o") else node.name
            value = tensors[name][start : start + rows]
            binding.bind_output(node.name, "cpu", 0, value.dtype, value.shape, value.ctypes.data)
        return binding
