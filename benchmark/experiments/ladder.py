"""The ladder: one engineering decision a rung, from the baseline up, each a running server under load.

All rungs but the cache's are measured on unique texts. A cache gains nothing there, so it is measured apart:
the server without and with Redis, both on the same repeated texts (zipf).
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
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
    """A configuration on a workload, and the decision in which it differs from the rung below."""

    configuration: str
    workload: str
    decision: str
    tasks: tuple[str, ...] = TASKS


RUNGS = (
    Rung("pytorch_eager", CLIMB, "PyTorch eager"),
    Rung("onnx_float32", CLIMB, "ONNX float32"),
    Rung("onnx_int8", CLIMB, "INT8"),
    Rung("native_kernels", CLIMB, "native kernels"),
    Rung("request_batching", CLIMB, "request batching", ("sentiment",)),
    Rung("static_batching", CLIMB, "static batching", ("translation",)),
    Rung("request_batching", CLIMB, "early exit", ("translation",)),
    Rung("continuous_batching", CLIMB, "continuous batching", ("translation",)),
    Rung("vocabulary_screening", CLIMB, "vocabulary screening", ("translation",)),
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
        """The kernels of the INT8 graphs: NATIVE, or ONNX Runtime's."""
        return self.manifest["artefacts"]["translation/onnx"].get("kernels", "onnxruntime")

    @property
    def screened(self) -> bool:
        """Whether translation was prepared for screening of its vocabulary."""
        return bool(self.manifest["artefacts"]["translation/onnx"].get("screening"))


def configurations(int8: Models, plain: Models, float32: Models) -> dict[str, Configuration]:
    """How each rung's server is run. Sentiment has one kind of batching, translation three.

    Static: a batch computes all its rows to its last token, as Hugging Face `generate` does. Request:
    finished sequences exit early. Continuous: waiting ones take their slots.

    `int8` is what the upper rungs serve; `plain` the same INT8 on ONNX Runtime's kernels; `float32` the
    graphs before quantization. Where `int8` has no native kernels, or no screening of the vocabulary, there
    is no rung of them.
    """

    def configure(server: str, models: Models = int8, *, cached: bool = False) -> Configuration:
        return Configuration(server, models.folder, models.manifest, cached)

    def batching(kind: str, *, screening: bool = False) -> Configuration:
        variables = {"GAP_TRANSLATION_BATCHING": kind, "GAP_VOCABULARY_SCREENING": str(screening)}
        return replace(configure("dynamic_batching"), settings=variables)

    known = {
        "pytorch_eager": configure("baseline"),
        "onnx_float32": configure("optimized", float32),
        "onnx_int8": configure("optimized", plain),
        "static_batching": batching("static"),
        "request_batching": batching("request"),
        "continuous_batching": batching("continuous"),
        "no_cache": configure("optimized"),
        "redis_cache": configure("optimized", cached=True),
    }
    if int8.kernels == NATIVE:
        known["native_kernels"] = configure("optimized")
    if int8.screened:
        known["vocabulary_screening"] = batching("continuous", screening=True)
    return known


def rungs(task: str, workload: str, known: Collection[str]) -> list[Rung]:
    """The rungs of a task on a workload whose configurations are `known`, from the lowest up."""
    of_task = [rung for rung in RUNGS if task in rung.tasks and rung.workload == workload]
    return [rung for rung in of_task if rung.configuration in known]


def steps(task: str, known: Collection[str]) -> Iterator[tuple[Rung, Rung | None]]:
    """Each rung of a task and the one below it, of the configurations `known`."""
    for workload in (CLIMB, APART):
        own = rungs(task, workload, known)
        yield from zip(own, [None, *own], strict=False)


@dataclass(frozen=True)
class LadderPlan(Plan):
    """The rungs of each task at each number of users; `servers` are the configurations, for the record."""

    def cells(self) -> Iterator[Cell]:
        """Every cell; each round starts with another rung, so that a drift affects all alike."""
        for repeat in range(1, self.repeats + 1):
            for task in self.tasks:
                own = [rung for rung, _ in steps(task, self.servers)]
                shift = (repeat - 1) % len(own)
                for users in self.users:
                    for rung in own[shift:] + own[:shift]:
                        yield Cell(rung.configuration, task, rung.workload, 1, users, repeat)
