"""The engines by name: their processes, and the settings among which a search finds the fastest.

Imports no engine: each is imported in its own process, by `peers.engines.worker_main`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT
from dynamic_batching.runtime.onnx_files import cpu_flags

Settings = dict[str, Any]

PEER_PACKAGES = ROOT / ".venv-peers"
OURS = "ours"
REFERENCE = "pytorch"


@dataclass(frozen=True)
class EngineSpec:
    """An engine's title in tables, its processes, and its candidate settings.

    `candidates` takes the number of cores, and whether answers have a fixed length. Settings that are not
    `process_settings` can change from pass to pass.
    """

    title: str
    process_per_core: bool
    candidates: Callable[[int, bool], list[Settings]]
    process_settings: tuple[str, ...] = ()
    converts_weights: bool = False

    def process_key(self, settings: Settings) -> tuple[tuple[str, Any], ...]:
        """The settings among these that are fixed when a process starts."""
        return tuple((name, value) for name, value in settings.items() if name in self.process_settings)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Environment variables of a process with these settings."""
        threads = str(settings.get("intra_threads", 1))
        variables = {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(PEER_PACKAGES)}
        variables |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        return variables | ({"CT2_FORCE_CPU_ISA": settings["isa"]} if "isa" in settings else {})


def our_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    orders = (("arrival", 4), ("arrival", 16), ("length", 16))
    return [
        {"slots": slots, "prefill_batch": size, "order": order}
        for slots, (order, size) in product((64, 96, 128), orders)
    ]


def ctranslate2_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    """Every split of the cores into workers and threads, with every kind of batch and of calls.

    CTranslate2 uses its AVX2 kernels on AMD CPUs that have AVX-512 unless CT2_FORCE_CPU_ISA is set: both
    are candidates.
    """
    threads = [intra for intra in range(1, cores + 1) if cores % intra == 0]
    calls = ("own_limits", "by_limit") if fixed_length else ("all",)
    batches = (("examples", 32), ("examples", 64), ("examples", 128), ("tokens", 2048))
    isas = ({}, {"isa": "AVX512"}) if "avx512bw" in cpu_flags() else ({},)
    return [
        {"inter_threads": cores // intra, "intra_threads": intra, "calls": call}
        | {"batch_type": kind, "max_batch_size": size}
        | isa
        for intra, call, (kind, size), isa in product(threads, calls, batches, isas)
    ]


def optimum_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    return [{"batch_size": size} for size in (16, 32, 64)]


ENGINES = {
    OURS: EngineSpec("ours, INT8", True, our_candidates),
    "ctranslate2": EngineSpec(
        "CTranslate2 INT8",
        False,
        ctranslate2_candidates,
        process_settings=("inter_threads", "intra_threads", "isa"),
        converts_weights=True,
    ),
    "optimum": EngineSpec("Optimum INT8", True, optimum_candidates, converts_weights=True),
}
# Not measured: the other engines' tokens are compared with its own.
REFERENCE_SPEC = EngineSpec("PyTorch float32", False, lambda cores, fixed_length: [{}])


def engine_spec(name: str) -> EngineSpec:
    return REFERENCE_SPEC if name == REFERENCE else ENGINES[name]


def check_installed(names: tuple[str, ...]) -> None:
    """Raises ProcessFailed if CTranslate2 is to be measured and is not installed."""
    if "ctranslate2" in names and not (PEER_PACKAGES / "ctranslate2").is_dir():
        raise ProcessFailed(f"there is no CTranslate2 in {PEER_PACKAGES}; `make peers` installs it")


def format_settings(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
