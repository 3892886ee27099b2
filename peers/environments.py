"""An environment for each requirements.txt of peers/ and deploy/, made on demand in .venv-peers/.

`python -m peers.environments FILE` makes that of FILE and prints its Python.
It sees the packages of .venv as well, so that every peer runs the same ONNX Runtime and tokenizers; what its
requirements bring in other versions comes first.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Annotated

import typer

import bootstrap
from benchmark.commands.output import fail
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import ROOT

ENVIRONMENTS = ROOT / ".venv-peers"
CONSTRAINTS = ROOT / "constraints.txt"
# Read by Python's site module: the folder of .venv's packages.
SHARED = "shared.pth"


def environment_name(requirements: Path) -> str:
    """Of peers/servers/mosec/requirements.txt: servers-mosec; of deploy/requirements.txt: deploy."""
    parts = requirements.resolve().parent.relative_to(ROOT).parts
    return "-".join(parts[1:] if parts[0] == "peers" else parts)


def environment_folder(requirements: Path) -> Path:
    return ENVIRONMENTS / environment_name(requirements)


def is_installed(requirements: Path) -> bool:
    marker = environment_folder(requirements) / "installed"
    return marker.is_file() and marker.read_text() == digest(requirements)


def digest(requirements: Path) -> str:
    content = requirements.read_bytes() + CONSTRAINTS.read_bytes() + sys.version.encode()
    return hashlib.sha256(content).hexdigest()


def python_of(requirements: Path) -> Path:
    """The Python of an environment, whether it is made or not."""
    return environment_folder(requirements) / "bin" / "python"


def shared_packages() -> str:
    """The folder of .venv's packages, also where the caller runs in an environment made here."""
    caller = Path(sysconfig.get_path("purelib"))
    shared = caller / SHARED
    return shared.read_text() if shared.is_file() else f"{caller}\n"


def install(requirements: Path) -> Path:
    """Makes the environment of a requirements file unless it is there; returns its Python.

    Raises:
        ProcessFailed: a package cannot be installed; the text is pip's own last error.
    """
    folder = environment_folder(requirements)
    if is_installed(requirements):
        return python_of(requirements)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    own = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(own) / SHARED).write_text(shared_packages())
    log_path = folder / "pip.log"
    python = python_of(requirements)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    with log_path.open("w") as log:
        environment = bootstrap.pip_environment()
        failed = subprocess.call(
            [*command, "-r", str(requirements)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    if failed:
        lines = [line for line in log_path.read_text().splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no output"]
        raise ProcessFailed(f"cannot install {requirements.relative_to(ROOT)}: {errors[-1]} (see {log_path})")
    (folder / "installed").write_text(digest(requirements))
    return python


def main(
    requirements: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A requirements.txt.")],
) -> None:
    """Make the environment of a requirements.txt unless it is there, and print its Python."""
    if not requirements.resolve().is_relative_to(ROOT):
        raise typer.BadParameter(f"is not in {ROOT}", param_hint="REQUIREMENTS")
    try:
        print(install(requirements.resolve()))
    except ProcessFailed as error:
        raise fail(error) from None


if __name__ == "__main__":
    typer.run(main)
