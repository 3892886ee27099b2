"""From the baseline upward, one decision a rung; every rung is a server that runs and is asked over HTTP.

The rungs climb on texts that never repeat. The cache is worth nothing there, so its rung stands apart: the
server without and with Redis, both on the same repeated texts (zipf).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmark.measure.configurations import Configuration
from benchmark.runs.plan import Plan
from benchmark.runs.records import TASKS, Cell

KIND = "ladder"
CLIMB, APART = "unique", "zipf"
NATIVE = "native"


@dataclass(frozen=True)
class Rung:
    """A configuration on a workload, and the decision that sets it apart from the rung before."""

    configuration: str
    workload: str
    decision: str
    tasks: tuple[str, ...] = TASKS


RUNGS = (
    Rung("pytorch_eager", CLIMB, "PyTorch eager"),
    Rung("onnx_float32", CLIMB, "ONNX float32"),
    Rung("onnx_int8", CLIMB, "INT8"),
    Rung("native_kernels", CLIMB, "own kernels"),
    Rung("request_batching", CLIMB, "request batching", ("sentiment",)),
    Rung("static_batching", CLIMB, "static batching", ("translation",)),
    Rung("request_batching", CLIMB, "ended rows leave", ("translation",)),
    Rung("continuous_batching", CLIMB, "continuous batching", ("translation",)),
    Rung("no_cache", APART, "no cache"),
    Rung("redis_cache", APART, "Redis cache"),
)


@dataclass(frozen=True)
class Models:
    """A models folder and its manifest."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def kernels(self) -> str:
        """What the INT8 graphs run on: NATIVE, or ONNX Runtime's own."""
        return self.manifest["artefacts"]["translation/onnx"].get("kernels", "onnxruntime")


def configurations(int8: Models, plain: Models, float32: Models) -> dict[str, Configuration]:
    """How each rung's server is run. Sentiment has one kind of batching, whatever translation's is.

    Of translation there are three: a batch that is as wide to its last token as at its first (static, as in
    Hugging Face `generate`), one that ended rows leave, and one that others join as well.

    `int8` is what the upper rungs serve; `plain` the same INT8 on ONNX Runtime's own kernels; `float32` the
    graphs before quantization. Where `int8` has no kernels of the project's own, it has no rung of them.
    """
    fastest = int8.folder, int8.manifest
    known = {
        "pytorch_eager": Configuration("baseline", *fastest, cached=False),
        "onnx_float32": Configuration("optimized", float32.folder, float32.manifest, cached=False),
        "onnx_int8": Configuration("optimized", plain.folder, plain.manifest, cached=False),
        **{
            f"{batching}_batching": Configuration(
                "dynamic_batching", *fastest, cached=False, settings={"GAP_TRANSLATION_BATCHING": batching}
            )
            for batching in ("static", "request", "continuous")
        },
        "no_cache": Configuration("optimized", *fastest, cached=False),
        "redis_cache": Configuration("optimized", *fastest, cached=True),
    }
    if int8.kernels == NATIVE:
        known["native_kernels"] = Configuration("optimized", *fastest, cached=False)
    return known


def rungs(task: str, workload: str, known: Collection[str]) -> list[Rung]:
    """The rungs of a task on a workload whose configurations are `known`, from the lowest up."""
    return [
        rung
        for rung in RUNGS
        if task in rung.tasks and rung.workload == workload and rung.configuration in known
    ]


def steps(task: str, known: Collection[str]) -> Iterator[tuple[Rung, Rung | None]]:
    """Each rung of a task and the one below it, of the configurations `known`."""
    for workload in (CLIMB, APART):
        own = rungs(task, workload, known)
        if not own:
            continue
        yield own[0], None
        yield from ((above, below) for below, above in pairwise(own))


@dataclass(frozen=True)
class LadderPlan(Plan):
    """The rungs of each task at each number of users; `servers` are the configurations, for the record."""

    def cells(self) -> Iterator[Cell]:
        """Every cell; the rung that begins moves on with each round, so that a drift falls on all alike."""
        for repeat in range(1, self.repeats + 1):
            for task in self.tasks:
                own = [rung for rung, _ in steps(task, self.servers)]
                shift = (repeat - 1) % len(own)
                for users in self.users:
                    for rung in own[shift:] + own[:shift]:
                        yield Cell(rung.configuration, task, rung.workload, 1, users, repeat)
