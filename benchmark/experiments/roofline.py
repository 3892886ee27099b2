"""How near each operator of the native kernels comes to what this CPU can do.

The roof of an operator is the longer of two times: its INT8 products at the speed of the multiply unit, and
the bytes of its weights at the bandwidth of the level that holds all weights of its graph. Both speeds are
measured by functions of the kernels' own library (kernels/roofline.cpp), the operators by ONNX Runtime's
profile of the graphs on the load's texts. A shared machine has slower moments: the shortest run of many
stands beside the median.
Source: Williams, Waterman, Patterson, Roofline (CACM 52(4), 2009).

results/<run>/roofline.json
"""

import ctypes
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmark.experiments.operator_profile import Operator, profile_tasks
from benchmark.measure.configurations import Configuration
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from dynamic_batching.runtime.onnx_files import find_onnx_files, kernel_library

FILE = "roofline.json"
PASSES = 50
# Of one pass: some hundred microseconds.
MULTIPLY_STEPS = 20_000
READ_BYTES = 1 << 23
MEMORY_BYTES = 1 << 28
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Roof:
    """`products_per_s` of the multiply unit from registers, `levels` of memory: (bytes, bytes a second)."""

    products_per_s: float
    levels: list[tuple[int, float]]

    def bytes_per_s(self, held: int) -> float:
        """The bandwidth of the smallest level that holds so many bytes."""
        return next((speed for size, speed in self.levels if held <= size), self.levels[-1][1])

    def seconds(self, products: float, weight_bytes: float, held: int) -> tuple[float, str]:
        """The least time of an operator, and what bounds it."""
        multiply_s, read_s = products / self.products_per_s, weight_bytes / self.bytes_per_s(held)
        return (multiply_s, "products") if multiply_s >= read_s else (read_s, "weights")


def measure_roof(library: Path) -> Roof:
    """The best of PASSES passes of each; ProcessFailed where the library lacks what measures it."""
    try:
        kernels = ctypes.CDLL(str(library))
        products, read = kernels.gap_products_per_s, kernels.gap_bytes_per_s
    except (OSError, AttributeError) as error:
        raise ProcessFailed(f"{library} measures no roof ({error}); prepare the models again") from None
    products.restype = read.restype = ctypes.c_double
    products.argtypes = [ctypes.c_size_t]
    read.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    levels = []
    for size in (*cache_bytes(), MEMORY_BYTES):
        # Half of a cache, so that all of it stays there.
        used = size if size == MEMORY_BYTES else size // 2
        memory = np.ones(used // 512 * 512, np.uint8)
        passes = max(1, READ_BYTES // memory.nbytes)
        levels.append((size, max(read(memory.ctypes.data, memory.nbytes, passes) for _ in range(PASSES))))
    return Roof(max(products(MULTIPLY_STEPS) for _ in range(PASSES)), levels)


def cache_bytes() -> Iterator[int]:
    """The sizes of this core's caches for data, the smallest first; none where the system does not say."""
    for folder in sorted(CACHES.glob("index*")):
        if (folder / "type").read_text().strip() != "Instruction":
            yield int((folder / "size").read_text().strip().removesuffix("K")) * 1024


def measure_tasks(tasks: Sequence[str], models: Configuration, cores: Cores, slots: int) -> dict[str, Any]:
    """The record of `tasks`: translation in `slots` slots, sentiment in batches of as many texts.

    Raises:
        ProcessFailed: the models have no native kernels, or those of another version.
    """
    library = kernel_library(find_onnx_files(models.models_dir, "sentiment"))
    if library is None:
        raise ProcessFailed(f"{models.models_dir} has no native kernels: there is no roof to measure them by")
    roof = measure_roof(library)
    by_task = {
        task: {"model": models.model(task), "slots": slots, "operators": [*rows(operators, roof)]}
        for task, operators in profile_tasks(tasks, models.models_dir, slots).items()
    }
    return {"environment": environment_record(cores, {}), "roof": asdict(roof), "tasks": by_task}


def rows(operators: Sequence[Operator], roof: Roof) -> Iterator[dict[str, Any]]:
    """A row for the nodes of a graph that do the same, those that take the most time first."""
    alike: dict[tuple[str, str], list[Operator]] = defaultdict(list)
    for one in operators:
        alike[one.graph, one.name].append(one)
    total_s = sum(sum(one.seconds) for one in operators)
    for (graph, name), group in sorted(alike.items(), key=lambda item: -spent_s(item[1])):
        runs = [len(one.seconds) for one in group]
        roofs = [roof.seconds(one.products, one.weight_bytes, one.graph_bytes) for one in group]
        least_s = sum(count * seconds for count, (seconds, _) in zip(runs, roofs, strict=True))
        typical_s = sum(count * median(one.seconds) for count, one in zip(runs, group, strict=True))
        best_s = sum(count * min(one.seconds) for count, one in zip(runs, group, strict=True))
        products = sum(count * one.products for count, one in zip(runs, group, strict=True))
        yield {
            "graph": graph,
            "operator": name,
            "share_of_time": spent_s(group) / total_s,
            "products_per_s": products / typical_s if products else None,
            "bound": roofs[0][1] if products else None,
            "share_of_roof": least_s / typical_s if products else None,
            "share_of_roof_best": least_s / best_s if products else None,
        }


def spent_s(group: Sequence[Operator]) -> float:
    return sum(sum(one.seconds) for one in group)
