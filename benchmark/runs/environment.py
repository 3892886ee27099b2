"""What a figure depends on besides the code: machine, versions, commit. Each cell's record holds it."""

import contextlib
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmark.runs.plan import Cores
from dynamic_batching.web.cpus import cpu_quota
from dynamic_batching.web.settings import masked

ROOT = Path(__file__).resolve().parents[2]
INFERENCE_PACKAGES = ("torch", "transformers", "onnxruntime", "tokenizers", "sentencepiece", "numpy")
PACKAGES = (*INFERENCE_PACKAGES, "fastapi", "starlette", "uvicorn", "pydantic", "redis", "locust")


def environment_record(cores: Cores, server_settings: dict[str, str]) -> dict[str, Any]:
    """What a record says of where it was measured.

    `server_settings` are those that the benchmark gives its servers; what they inherit stands beside them,
    without passwords.
    """
    commit, dirty = _commit()
    inherited = {name: masked(value) for name, value in sorted(os.environ.items()) if name.startswith("GAP_")}
    return {
        "machine": {
            "cpu": _cpu_name(),
            "logical_cores": psutil.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "platform": platform.platform(),
        },
        # Absent where they are pinned: only runs on equal "cores" are compared.
        "cores": {"server": list(cores.server), "load": list(cores.load)}
        | ({} if can_pin() else {"pinned": False}),
        "cpu_quota": cpu_quota(),
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": commit,
        "dirty": dirty,
        "server_settings": inherited | server_settings,
    }


def can_pin() -> bool:
    """Whether the system lets a process say which cores it runs on: macOS does not."""
    return hasattr(os, "sched_setaffinity")


def _cpu_name() -> str:
    """The CPU's name, with family and model: virtual machines may name unlike ones alike."""
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        facts = dict(re.findall(r"(?m)^([\w ]+?)\s*: (.+)$", Path("/proc/cpuinfo").read_text()))
    name = facts.get("model name") or _mac_cpu_name() or platform.processor() or platform.machine()
    if "cpu family" in facts:
        name += f" (family {facts['cpu family']}, model {facts['model']})"
    return name


def _mac_cpu_name() -> str:
    try:
        command = ("sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _commit() -> tuple[str | None, bool]:
    """The short commit and whether the tree differs from it; (None, False) outside a checkout."""

    def git(*arguments: str) -> str:
        # Without its lock on the index: a full disk would leave one behind, for the user to remove.
        return subprocess.run(
            ("git", "--no-optional-locks", *arguments), cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, False
