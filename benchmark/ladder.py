"""From the baseline upward, one decision a rung; every rung is a server that runs and is asked over HTTP.

The rungs climb on texts that never repeat. The cache is worth nothing there, so its rung stands apart: the
server without and with Redis, both on the same repeated texts (zipf).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmark.configurations import Configuration
from benchmark.plan import Plan
from benchmark.records import TASKS, Cell

KIND = "ladder"
CLIMB, APART = "unique", "zipf"


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
    Rung("request_batching", CLIMB, "request batching"),
    Rung("continuous_batching", CLIMB, "continuous batching", ("translation",)),
    Rung("onnx_int8", APART, "INT8, no cache"),
    Rung("redis_cache", APART, "Redis cache"),
)


def configurations(
    models_dir: Path, manifest: dict[str, Any], float32_dir: Path, float32_manifest: dict[str, Any]
) -> dict[str, Configuration]:
    """How each rung's server is run. Sentiment has one kind of batching, whatever translation's is."""
    int8 = models_dir, manifest
    return {
        "pytorch_eager": Configuration("baseline", *int8, cached=False),
        "onnx_float32": Configuration("optimized", float32_dir, float32_manifest, cached=False),
        "onnx_int8": Configuration("optimized", *int8, cached=False),
        "request_batching": Configuration(
            "dynamic_batching", *int8, cached=False, settings={"GAP_TRANSLATION_BATCHING": "request"}
        ),
        "continuous_batching": Configuration(
            "dynamic_batching", *int8, cached=False, settings={"GAP_TRANSLATION_BATCHING": "continuous"}
        ),
        "redis_cache": Configuration("optimized", *int8, cached=True),
    }


def rungs(task: str, workload: str) -> list[Rung]:
    """The rungs of a task on a workload, from the lowest up."""
    return [rung for rung in RUNGS if task in rung.tasks and rung.workload == workload]


def steps(task: str) -> Iterator[tuple[Rung, Rung | None]]:
    """Each rung of a task and the one below it."""
    for workload in (CLIMB, APART):
        own = rungs(task, workload)
        yield own[0], None
        yield from ((above, below) for below, above in pairwise(own))


@dataclass(frozen=True)
class LadderPlan(Plan):
    """The rungs of each task at each number of users; `servers` are the configurations, for the record."""

    def cells(self) -> Iterator[Cell]:
        """Every cell; the rung that begins moves on with each round, so that a drift falls on all alike."""
        for repeat in range(1, self.repeats + 1):
            for task in self.tasks:
                own = [rung for rung, _ in steps(task)]
                shift = (repeat - 1) % len(own)
                for users in self.users:
                    for rung in own[shift:] + own[:shift]:
                        yield Cell(rung.configuration, task, rung.workload, 1, users, repeat)
