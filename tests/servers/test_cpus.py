"""Threads follow the CPUs a process may use: its affinity, within the quota of its control groups."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SERVERS
from hypothesis import given
from hypothesis import strategies as st

from benchmark.runs.environment import ROOT
from optimized.web import cpus

PERIOD_US = 100_000
QUOTAS = st.one_of(st.none(), st.integers(1_000, 6_400_000))
NAMES = st.sampled_from(["docker", "a.slice", "b.scope", "pod-1"])


def group_v2(folder: Path, quota_us: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{'max' if quota_us is None else quota_us} {PERIOD_US}\n")


def group_v1(folder: Path, quota_us: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{-1 if quota_us is None else quota_us}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{PERIOD_US}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of control groups, still empty, of a machine with 64 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    return machine_at(tmp_path, monkeypatch)


def machine_at(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    patch.setattr(cpus, "CGROUPS", folder / "cgroup")
    patch.setattr(cpus, "OWN_CGROUPS", folder / "own")
    (folder / "cgroup").mkdir()
    return folder / "cgroup"


def belong_to(root: Path, *lines: str) -> None:
    (root.parent / "own").write_text("".join(f"{line}\n" for line in lines))


def test_without_control_groups_all_allowed_cpus_are_used(machine: Path) -> None:
    assert cpus.cpu_quota() is None and cpus.usable_cpus() == 64


@pytest.mark.parametrize(
    ("quota_us", "usable"), [(None, 64), (100_000, 1), (150_000, 2), (1_000, 1), (800_000, 8), (9**9, 64)]
)
def test_a_containers_limit_bounds_the_threads(machine: Path, quota_us: int | None, usable: int) -> None:
    group_v2(machine, quota_us)
    belong_to(machine, "0::/")
    assert cpus.usable_cpus() == usable


@pytest.mark.parametrize(
    ("controllers", "mount"),
    [("cpu", "cpu"), ("cpu,cpuacct", "cpu"), ("cpu,cpuacct", "cpu,cpuacct"), ("cpuacct,cpu", "cpuacct,cpu")],
)
def test_version_1_is_read_as_well(machine: Path, controllers: str, mount: str) -> None:
    group_v1(machine / mount / "docker" / "c0ffee", 200_000)
    belong_to(machine, "9:name=systemd:/docker/c0ffee", f"4:{controllers}:/docker/c0ffee", "0::/")
    assert cpus.usable_cpus() == 2


def test_a_container_that_is_told_its_path_outside_reads_its_root(machine: Path) -> None:
    group_v1(machine / "cpu", 300_000)
    belong_to(machine, "4:cpu,cpuacct:/docker/c0ffee")
    assert cpus.usable_cpus() == 3
    belong_to(machine, "4:cpu:/../../elsewhere")
    assert cpus.usable_cpus() == 64


def test_another_controllers_group_says_nothing(machine: Path) -> None:
    group_v1(machine / "cpu" / "memory-only", 100_000)
    belong_to(machine, "4:memory:/memory-only", "3:cpuset:/memory-only")
    assert cpus.cpu_quota() is None


@given(names=st.lists(NAMES, max_size=5), data=st.data(), version=st.sampled_from([1, 2]))
def test_the_tightest_of_nested_groups_counts(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject, version: int
) -> None:
    quotas = [data.draw(QUOTAS) for _ in range(len(names) + 1)]
    given_affinity = data.draw(st.integers(1, 96))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: set(range(given_affinity)), raising=False)
        root = machine_at(tmp_path_factory.mktemp("machine"), patch)
        folder = root if version == 2 else root / "cpu"
        for name, quota in zip(["", *names], quotas, strict=True):
            folder = folder / name
            (group_v2 if version == 2 else group_v1)(folder, quota)
        # A sibling's limit is none of ours.
        (group_v2 if version == 2 else group_v1)(folder.parent / "sibling", 1_000)
        belong_to(root, f"{'0:' if version == 2 else '4:cpu'}:/{'/'.join(names)}")
        limits = [quota / PERIOD_US for quota in quotas if quota is not None]
        assert cpus.cpu_quota() == min(limits, default=None)
        assert cpus.usable_cpus() == max(1, min(given_affinity, *(math.ceil(limit) for limit in limits), 96))


@given(
    own=st.binary(max_size=64),
    files=st.dictionaries(
        st.sampled_from(["cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"]),
        st.one_of(
            st.binary(max_size=32),
            st.sampled_from([b"", b"max", b"-1", b"0 0", b"1 0", b"9" * 400 + b" 1", b"nan 1", b"1 2 3"]),
        ),
    ),
)
def test_files_that_make_no_sense_set_no_limit_below_one(
    tmp_path_factory: pytest.TempPathFactory, own: bytes, files: dict[str, bytes]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        root = machine_at(tmp_path_factory.mktemp("machine"), patch)
        (root.parent / "own").write_bytes(own)
        for name, content in files.items():
            (root / name).write_bytes(content)
        assert cpus.usable_cpus() >= 1


def test_a_system_without_affinity_has_all_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert cpus.allowed_cpus() == list(range(10))
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.allowed_cpus() == [0]


@pytest.mark.parametrize("name", SERVERS)
def test_every_servers_threads_follow_the_quota(name: str, machine: Path) -> None:
    group_v2(machine, 150_000)
    code = (
        "import os, sys; from pathlib import Path\n"
        "os.sched_getaffinity = lambda pid: set(range(64))\n"
        f"import {name}.web.cpus as cpus, {name}.config as config\n"
        f"cpus.CGROUPS = Path({str(machine)!r})\n"
        "print(config.Settings().threads)"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GAP_")}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "2"
