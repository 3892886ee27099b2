"""The set-up: which PyTorch is taken from where, what pip is told, and that every package has its pin.

Package indexes are stubs on loopback, with wheels of a few bytes.
"""

import contextlib
import functools
import http.server
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bootstrap
from benchmark.runs.environment import ROOT

# All that is asked of pip, or of Python, to be led astray by.
PIP_CONF = """
[global]
index-url = {url}/usual/
extra-index-url =
find-links =
require-hashes = true
no-binary = :all:
[install]
user = true
target = {elsewhere}
dry-run = true
"""
MISLEADING = {
    "PIP_USER": "1",
    "PIP_PREFIX": "/nonexistent",
    "PIP_NO_DEPS": "1",
    "PIP_PYTHON": "/nonexistent",
    "PIP_CONSTRAINT": "/nonexistent",
    "PYTHONHOME": "/nonexistent",
    "PYTHONPATH": "/nonexistent",
    "PYTHONWARNINGS": "error",
}


def write_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of one empty module, where an index has it."""
    module = name.replace("-", "_")
    facts = f"{module}-{version}.dist-info"
    (folder / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", "")
        wheel.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def index_server(folder: Path) -> Iterator[str]:
    """The URL of a server whose listing of each folder is what pip takes for an index's page."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder with the set-up's files, few requirements, and two indexes of which cpu/ has PyTorch's."""
    usual = [("torch", "2.0"), ("demo", "1.0"), ("demo", "2.0")]
    for name, version in (*usual, (bootstrap.MODELS, "1.0")):
        write_wheel(tmp_path / "indexes" / "usual", name, version)
    for name, version in (("torch", "2.0+cpu"), ("demo", "1.0+cpu")):
        write_wheel(tmp_path / "indexes" / "cpu", name, version)
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "requirements.txt").write_text("-c constraints.txt\ntorch\ndemo\n")
    pins = f"torch==2.0\ndemo==1.0\n{bootstrap.MODELS}==1.0\n"
    (folder / "constraints.txt").write_text(pins)
    with index_server(tmp_path / "indexes") as url:
        (tmp_path / "pip.conf").write_text(PIP_CONF.format(url=url, elsewhere=tmp_path / "elsewhere"))
        use_cpu_index(folder, f"{url}/cpu")
        yield folder


def use_cpu_index(checkout: Path, url: str) -> None:
    source = (ROOT / "bootstrap.py").read_text()
    assert source.count(bootstrap.CPU_INDEX) == 1
    (checkout / "bootstrap.py").write_text(source.replace(bootstrap.CPU_INDEX, url))


def run(checkout: Path, *command: str) -> str:
    """The output of a command that must succeed, misled in every way."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON"))},
        **{key: value for key, value in MISLEADING.items() if command[0] == "make" or key != "PYTHONHOME"},
        "PIP_CONFIG_FILE": str(checkout.parent / "pip.conf"),
    }
    environment.pop("TORCH", None)
    ended = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def make(checkout: Path, *arguments: str) -> str:
    return run(checkout, "make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments)


def installed(checkout: Path) -> dict[str, str]:
    found = importlib.metadata.distributions(path=map(str, checkout.glob(".venv/lib/*/site-packages")))
    return {one.name: one.version for one in found if one.name not in ("pip", "setuptools")}


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI has the CPU build alone")


@needs_linux
def test_the_cpu_build_is_taken_and_cuda_can_be_chosen_whatever_pip_is_told(checkout: Path) -> None:
    packages = {"demo": "1.0", bootstrap.MODELS: "1.0"}
    output = make(checkout, "setup")
    assert installed(checkout) == {"torch": "2.0+cpu", **packages}
    assert "CPU build" in output and "0.6 GB to download" in output
    assert make(checkout, "setup") == "", "there is nothing to do"

    output = make(checkout, "setup", "TORCH=cuda")
    assert installed(checkout) == {"torch": "2.0", **packages}
    assert "CUDA build" in output and "3.1 GB to download" in output
    assert make(checkout, "setup") == "", "what was chosen stays"

    pins = checkout / "constraints.txt"
    pins.write_text(pins.read_text().replace("demo==1.0", "demo==2.0"))
    (checkout / ".venv/bin/python").unlink()
    assert "removing .venv, which is broken" in make(checkout, "setup")
    assert installed(checkout) == {"torch": "2.0", **packages, "demo": "2.0"}
    assert not (checkout.parent / "elsewhere").exists()


@needs_linux
def test_without_pytorchs_index_the_usual_one_is_asked_and_the_size_printed(checkout: Path) -> None:
    with socket.socket() as silent:
        # It takes connections and never answers them.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        use_cpu_index(checkout, f"http://127.0.0.1:{silent.getsockname()[1]}")
        output = make(checkout, "setup")
    assert installed(checkout)["torch"] == "2.0"
    assert "does not answer" in output and "CUDA build" in output and "3.1 GB to download" in output


def test_an_index_answers_or_does_not(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    with index_server(tmp_path) as url:
        assert bootstrap.answers(f"{url}/torch/")
        assert not bootstrap.answers(f"{url}/other/")
    assert not bootstrap.answers(f"{url}/torch/")
    assert not bootstrap.answers("no URL")


def prepare(checkout: Path, monkeypatch: pytest.MonkeyPatch, free_gb: float = 100.0) -> None:
    """Has `bootstrap`, in this process, find an empty checkout on a disk with so much space."""
    for name in bootstrap.FILES:
        shutil.copy(ROOT / name, checkout)
    monkeypatch.setattr(bootstrap, "ROOT", str(checkout))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free_gb * 1e9}))


def error_of_main(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which `bootstrap` fails."""
    assert bootstrap.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("build", "free_gb", "platform", "message"),
    [
        ("gpu", 100, "linux", "TORCH is 'gpu'; it may be cpu or cuda"),
        ("cuda", 100, "darwin", "for Linux alone"),
        ("cpu", 4.9, "linux", "4.9 GB are free here and about 5 GB are needed"),
        ("cuda", 11, "linux", "11.0 GB are free here and about 13 GB are needed"),
    ],
)
def test_a_build_that_cannot_be_had_is_refused_before_anything_is_downloaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    build: str,
    free_gb: float,
    platform: str,
    message: str,
) -> None:
    prepare(tmp_path, monkeypatch, free_gb)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("TORCH", build)
    assert message in error_of_main(capsys)
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_gets_a_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path, monkeypatch)
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert "apt-get install python3-venv" in error_of_main(capsys)
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("free_gb", "reason"), [(100.0, "see above"), (0.01, "the disk is full")])
def test_an_installation_that_fails_ends_with_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    free_gb: float,
    reason: str,
) -> None:
    prepare(tmp_path, monkeypatch, free_gb)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/pip").touch()
    (tmp_path / ".venv/bin/python").symlink_to(shutil.which("false") or "")
    monkeypatch.setattr(bootstrap, "pip_environment", dict)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert error_of_main(capsys) == f"error: cannot install the requirements: {reason}\n"


def test_where_packages_come_from_is_the_users_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://mirror/\ntrusted-host = mirror\n  other\nproxy = http://a\n"
        "[install]\nproxy = http://b\nuser = true\n[list]\nformat = columns\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", "third")
    monkeypatch.setenv("PIP_CERT", "")
    monkeypatch.setenv("PIP_TARGET", "/nonexistent")
    monkeypatch.setattr(bootstrap, "python", lambda: sys.executable)
    environment = bootstrap.pip_environment()
    told = {name for name in environment if name.startswith(("PIP_", "PYTHON"))}
    assert environment["PIP_INDEX_URL"] == "http://mirror/"
    assert environment["PIP_TRUSTED_HOST"] == "third"
    assert environment["PIP_PROXY"] == "http://b"
    assert environment["PIP_CONFIG_FILE"] == os.devnull
    assert not told & {"PIP_USER", "PIP_TARGET", "PIP_FORMAT", "PYTHONPATH"}


def old_pythons() -> list[str]:
    names = ["python2", "python2.7", *(f"python3.{minor}" for minor in range(4, bootstrap.OLDEST[1]))]
    paths = [*map(shutil.which, names), *map(str, Path.home().glob(".pyenv/versions/*/bin/python"))]
    program = f"import sys; sys.exit(sys.version_info >= {bootstrap.OLDEST})"
    return [
        path
        for path in paths
        if path and subprocess.run([path, "-c", program], capture_output=True).returncode == 0
    ]


def test_an_old_python_gets_a_clear_line() -> None:
    pythons = old_pythons()
    if not pythons:
        pytest.skip(f"no Python older than {bootstrap.OLDEST} is here")
    for python in pythons:
        command = [python, str(ROOT / "bootstrap.py")]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 1
        assert re.fullmatch("error: Python 3.11 or newer is needed, this is .*\n", ended.stderr), python


# Of the machines that can run this: those whose packages may differ.
MACHINES = [
    {
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "sys_platform": platform,
        "platform_system": platform.title(),
        "platform_machine": machine,
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for version in ("3.11.0", "3.11.9", "3.12.9", "3.13.9", "3.14.1")
    for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]


def required(machine: dict[str, str]) -> set[str]:
    """Every package that requirements.txt brings to a machine, by what the installed ones say they need."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    waiting = [Requirement(line) for line in lines if line and line[0] not in "#-"]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        asked = waiting.pop()
        key = (canonicalize_name(asked.name), frozenset(asked.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            needed = importlib.metadata.requires(asked.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another machine
        for one in map(Requirement, needed):
            markers = [{**machine, "extra": extra} for extra in ("", *asked.extras)]
            if one.marker is None or any(one.marker.evaluate(marker) for marker in markers):
                waiting.append(one)
    return {name for name, _ in seen}


PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]


@pytest.mark.parametrize(
    "machine", MACHINES, ids=lambda one: f"{one['sys_platform']}-{one['python_version']}"
)
def test_every_package_that_a_machine_gets_is_pinned_once(machine: dict[str, str]) -> None:
    pinned = [pin.name for pin in PINS if pin.marker is None or pin.marker.evaluate(machine)]
    names = {canonicalize_name(name) for name in pinned}
    assert not required(machine) - names and len(names) == len(pinned)
    assert {"pip", "setuptools", bootstrap.MODELS} <= names
    assert all([one.operator for one in pin.specifier] == ["=="] for pin in PINS)


def test_what_is_installed_has_the_pinned_version() -> None:
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate():
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of another build
                assert pin.specifier.contains(importlib.metadata.version(pin.name)), pin
