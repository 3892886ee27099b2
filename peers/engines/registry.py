"""The engines of each task by name: their processes, and the settings among which a search finds the fastest.

Imports no engine: each is imported in its own process, by `peers.engines.worker_main`.
"""

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dynamic_batching.runtime.onnx_files import cpu_flags

Settings = dict[str, Any]

REQUIREMENTS = Path(__file__).parent / "requirements.txt"
X86 = platform.machine() in ("x86_64", "AMD64")
OURS = "ours"
REFERENCE = "pytorch"
# Settings that CTranslate2 reads from the environment: the variable, and its value for each setting.
CTRANSLATE2_VARIABLES = {
    "isa": ("CT2_FORCE_CPU_ISA", {"AVX512": "AVX512"}),
    "math_library": ("CT2_USE_MKL", {"MKL": "1", "oneDNN": "0"}),
}


@dataclass(frozen=True)
class EngineSpec:
    """An engine's title in tables, its processes, and its candidate settings.

    `candidates` takes the number of cores, and whether answers have a fixed length. Settings that are not
    `process_settings` can change from pass to pass. With `needs_requirements` the engine needs packages of
    requirements.txt.
    """

    title: str
    candidates: Callable[[int, bool], list[Settings]]
    process_per_core: bool = True
    process_settings: tuple[str, ...] = ()
    converts_weights: bool = False
    needs_requirements: bool = False

    def process_key(self, settings: Settings) -> tuple[tuple[str, Any], ...]:
        """The settings among these that are fixed when a process starts."""
        return tuple((name, value) for name, value in settings.items() if name in self.process_settings)

    def environment(self, settings: Settings) -> dict[str, str]:
        """Environment variables of a process with these settings."""
        threads = str(settings.get("intra_threads", 1))
        variables = {"TOKENIZERS_PARALLELISM": "false"}
        variables |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        for name, (variable, values) in CTRANSLATE2_VARIABLES.items():
            if name in settings:
                variables[variable] = values[settings[name]]
        return variables


def our_translation_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    orders = (("arrival", 4), ("arrival", 16), ("length", 16))
    return [
        {"slots": slots, "prefill_batch": size, "order": order}
        for slots, (order, size) in product((64, 96, 128), orders)
    ]


def our_sentiment_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    return [{"max_batch_tokens": most} for most in (128, 256, 512, 1024, 2048)]


def ctranslate2_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    """Every split of the cores into workers and threads, with every kind of batch, calls and kernels.

    CTranslate2 uses its AVX2 kernels on AMD CPUs that have AVX-512 unless CT2_FORCE_CPU_ISA is set: both
    are candidates. So are MKL, which it uses on Intel CPUs, and oneDNN, which it uses on others. There MKL is
    no candidate: on AMD EPYC it took 7 to 8 times as long, and the search with it.
    """
    threads = [intra for intra in range(1, cores + 1) if cores % intra == 0]
    calls = ("own_limits", "by_limit") if fixed_length else ("all",)
    batches = (("examples", 32), ("examples", 64), ("examples", 128), ("tokens", 2048))
    isas = ({}, {"isa": "AVX512"}) if "avx512bw" in cpu_flags() else ({},)
    libraries = ({"math_library": "MKL"}, {"math_library": "oneDNN"}) if is_intel() else ({},)
    return [
        {"inter_threads": cores // intra, "intra_threads": intra, "calls": call}
        | {"batch_type": kind, "max_batch_size": size}
        | isa
        | library
        for intra, call, (kind, size), isa, library in product(threads, calls, batches, isas, libraries)
    ]


def is_intel() -> bool:
    path = Path("/proc/cpuinfo")
    return path.is_file() and "GenuineIntel" in path.read_text()


def marian_candidates(cores: int, fixed_length: bool) -> list[Settings]:
    calls = ("all", "by_limit") if fixed_length else ("all",)
    return [
        {"gemm": gemm, "calls": call, "batch_size": size}
        for gemm, call, size in product(marian_gemm_types(), calls, (64, 128))
    ]


def marian_gemm_types() -> tuple[str, str]:
    """Marian's two INT8 formats for this CPU."""
    isa = "avx512" if "avx512bw" in cpu_flags() else "avx2"
    return f"intgemm8{isa}", f"packed8{isa}"


def batch_sizes(*sizes: int) -> Callable[[int, bool], list[Settings]]:
    return lambda cores, fixed_length: [{"batch_size": size} for size in sizes]


SENTIMENT_BATCHES = batch_sizes(1, 2, 4, 8, 16, 32, 64)
CTRANSLATE2 = EngineSpec(
    "CTranslate2 INT8",
    ctranslate2_candidates,
    process_per_core=False,
    process_settings=("inter_threads", "intra_threads", *CTRANSLATE2_VARIABLES),
    converts_weights=True,
    needs_requirements=True,
)
MARIAN = EngineSpec(
    "Marian INT8",
    marian_candidates,
    process_settings=("gemm",),
    converts_weights=True,
    needs_requirements=True,
)
# As in requirements.txt: where pymarian has wheels.
HAS_MARIAN = sys.platform == "linux" and X86 and sys.version_info < (3, 13)
OPENVINO = EngineSpec(
    "OpenVINO INT8",
    SENTIMENT_BATCHES,
    converts_weights=True,
    needs_requirements=True,
)
ENGINES = {
    "translation": {
        OURS: EngineSpec("ours, INT8", our_translation_candidates),
        "ctranslate2": CTRANSLATE2,
        **({"marian": MARIAN} if HAS_MARIAN else {}),
        "optimum": EngineSpec("Optimum INT8", batch_sizes(16, 32, 64), converts_weights=True),
        "pytorch_bfloat16": EngineSpec("PyTorch bfloat16", batch_sizes(16, 32, 64)),
    },
    "sentiment": {
        OURS: EngineSpec("ours, INT8", our_sentiment_candidates),
        "onnxruntime": EngineSpec("ONNX Runtime INT8", SENTIMENT_BATCHES, converts_weights=True),
        "optimum": EngineSpec("Optimum INT8", SENTIMENT_BATCHES, converts_weights=True),
        "openvino": OPENVINO,
        "pytorch_bfloat16": EngineSpec("PyTorch bfloat16", SENTIMENT_BATCHES),
    },
}
ENGINE_NAMES = tuple(dict.fromkeys(name for engines in ENGINES.values() for name in engines))
# Not measured: the other engines' answers are compared with its own.
REFERENCE_SPEC = EngineSpec("PyTorch float32", batch_sizes(32), process_per_core=False)


def engine_spec(task: str, name: str) -> EngineSpec:
    return REFERENCE_SPEC if name == REFERENCE else ENGINES[task][name]


def engines_of(task: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the named engines that do a task."""
    return tuple(name for name in names if name in ENGINES[task])


def format_settings(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
