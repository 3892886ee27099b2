"""The engines by name: where each runs, and the settings among which the search finds its best.

Light to import: what an engine needs is imported in its own process, by `peers.engines.child`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT

Settings = dict[str, Any]

PEER_PACKAGES = ROOT / ".venv-peers"
OURS = "ours"
REFERENCE = "pytorch"
SLOTS = (64, 96, 128)
ORDERS = (("arrival", 4), ("arrival", 16), ("length", 16))
BATCH_SIZES = (32, 64, 128)
TOKEN_BATCHES = (2048,)
OPTIMUM_BATCH_SIZES = (16, 32, 64)
WIDE_VECTORS = "AVX512"


@dataclass(frozen=True)
class Engine:
    """One engine: what it is called in a table, whether each core has a process, and what to search."""

    title: str
    process_a_core: bool
    settings: Callable[[int, bool], list[Settings]]
    prepared: bool = False

    def environment(self, settings: Settings) -> dict[str, str]:
        """The variables of a process that runs with `settings`."""
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        found = {name: str(settings.get("intra_threads", 1)) for name in names}
        found |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(PEER_PACKAGES)}
        if "isa" in settings:
            found["CT2_FORCE_CPU_ISA"] = settings["isa"]
        return found


def our_settings(cores: int, fixed_length: bool) -> list[Settings]:
    return [{"slots": slots, "join": join, "order": order} for slots in SLOTS for order, join in ORDERS]


def ctranslate2_settings(cores: int, fixed_length: bool) -> list[Settings]:
    """Every way to split the cores between workers and threads, by batch, by how texts share calls.

    On an AMD CPU CTranslate2 takes its AVX2 kernels unless told; being told AVX512 is a candidate too.
    """
    calls = ("own_limits", "by_limit") if fixed_length else ("all",)
    batches = [("examples", size) for size in BATCH_SIZES] + [("tokens", size) for size in TOKEN_BATCHES]
    return [
        {"inter_threads": cores // intra, "intra_threads": intra, "calls": call}
        | {"batch_type": kind, "max_batch_size": size}
        | ({"isa": WIDE_VECTORS} if wide else {})
        for intra in range(1, cores + 1)
        if cores % intra == 0
        for call in calls
        for kind, size in batches
        for wide in (False, True)
        if not wide or has_wide_vectors()
    ]


def optimum_settings(cores: int, fixed_length: bool) -> list[Settings]:
    return [{"batch_size": size} for size in OPTIMUM_BATCH_SIZES]


ENGINES = {
    OURS: Engine("ours, INT8", True, our_settings),
    "ctranslate2": Engine("CTranslate2 INT8", False, ctranslate2_settings, prepared=True),
    "optimum": Engine("Optimum INT8", True, optimum_settings, prepared=True),
}
# Not measured: what the others' tokens are held to.
REFERENCE_ENGINE = Engine("PyTorch float32", False, lambda cores, fixed_length: [{}])


def engine_of(name: str) -> Engine:
    return REFERENCE_ENGINE if name == REFERENCE else ENGINES[name]


def check_installed(names: tuple[str, ...]) -> None:
    """Raises ProcessFailed where CTranslate2 is asked for and is not there."""
    if "ctranslate2" in names and not (PEER_PACKAGES / "ctranslate2").is_dir():
        raise ProcessFailed(f"there is no CTranslate2 in {PEER_PACKAGES}; `make peers` installs it")


def has_wide_vectors() -> bool:
    """Whether this CPU has the AVX-512 instructions."""
    try:
        return "avx512bw" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
