"""Large weights in memory of their own: once for all graphs of a model, in huge pages where Linux gives them.

A step reads them all: from the small pages of a mapped file, misses of the TLB take some percent of it.
"""

import contextlib
import json
import mmap
from pathlib import Path

import numpy as np
import onnxruntime

WEIGHTS_FILE = "weights.bin"
TABLE_FILE = "weights.json"


class Weights:
    """The tensors that the table in `folder` lists. They must outlive the sessions that read them."""

    def __init__(self, folder: Path) -> None:
        path = folder / WEIGHTS_FILE
        # Not freed before the last array that shows it.
        memory = mmap.mmap(-1, path.stat().st_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        with path.open("rb") as file:
            file.readinto(memory)
        self._of_graph = {
            graph: {
                name: onnxruntime.OrtValue.ortvalue_from_numpy(
                    np.frombuffer(memory, kind, count=np.prod(shape), offset=offset).reshape(shape)
                )
                for name, (kind, shape, offset) in tensors.items()
            }
            for graph, tensors in json.loads((folder / TABLE_FILE).read_text()).items()
        }

    def bind_external(self, graph: str, options: onnxruntime.SessionOptions) -> None:
        """Has a session with `options` read the weights of the file `graph` here instead of from disk."""
        for name, value in self._of_graph[graph].items():
            options.add_initializer(name, value)
