"""How many CPUs this process may use: those of its affinity, within the quota of its container."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """How many CPUs threads of this process can keep busy, at least 1; what more of them do is throttled."""
    allowed, quota = len(allowed_cpus()), cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def allowed_cpus() -> list[int]:
    """The numbers of the CPUs that this process may run on; all of them where the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_quota() -> float | None:
    """How many CPUs' time the control groups of this process grant it; None where they set no limit."""
    return min((quota for folder in cgroup_folders() if (quota := read_quota(folder))), default=None)


def cgroup_folders() -> Iterator[Path]:
    """The folders of this process's control groups and of all above them, each of which may have a quota.

    A container sees its own group as the root, and may be told a path that exists only outside of it.
    """
    yield CGROUPS
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        # Version 2 has one hierarchy and names no controllers; version 1 has one for each set of them.
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (CGROUPS / controllers, CGROUPS / "cpu") if controllers else (CGROUPS,):
            folder = root / path.strip("/")
            if ".." not in folder.parts:
                yield from (above for above in (folder, *folder.parents) if above.is_relative_to(root))


def read_quota(folder: Path) -> float | None:
    """The limit of one control group, of either version; None where it has none, or none that can be read."""
    try:
        if (file := folder / "cpu.max").exists():
            quota, period = file.read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError, OverflowError):
        return None  # such as "max"
