"""Every make target that measures, draws or compares calls its command with options that it has."""

import re
import shlex
import subprocess
from typing import Any

import pytest
import typer
from checkout import ROOT

from benchmark.__main__ import MEASURE
from benchmark.__main__ import app as benchmark
from chaos.__main__ import Chaos
from chaos.__main__ import app as chaos
from demo.__main__ import Demo
from demo.__main__ import app as demo
from peers.deployments import Deployments
from peers.deployments import app as deployments
from peers.engines.__main__ import Peers
from peers.engines.__main__ import app as engines
from peers.servers.__main__ import Servers
from peers.servers.__main__ import app as servers

APPS: dict[str, Any] = {
    "benchmark": benchmark,
    "chaos": chaos,
    "demo": demo,
    "peers.deployments": deployments,
    "peers.engines": engines,
    "peers.servers": servers,
}
COMMANDS = (*MEASURE.values(), Chaos, Demo, Deployments, Peers, Servers)
MODULE = re.compile(rf"-m ({'|'.join(map(re.escape, APPS))}) (.*)")
VARIABLES = ("A=HEAD", "B=.", "SOURCE=embedded", "RUN=mine", "SERVER=baseline")


def targets() -> list[str]:
    return re.findall(r"^([a-z-]+):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def dry_run(target: str, *variables: str) -> str:
    command = ["make", "--no-print-directory", "--dry-run", target, *variables]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def calls(target: str, *variables: str) -> list[tuple[str, list[str]]]:
    """The modules of ours that a target runs, with their arguments, without running anything."""
    printed = dry_run(target, *variables)
    return [(module, shlex.split(options)) for module, options in MODULE.findall(printed.replace("\\\n", ""))]


def test_targets_are_found() -> None:
    assert {"bench", "ladder", "open-loop", "chaos"} <= {*targets()}
    assert len([target for target in targets() if calls(target, "A=a", "B=b")]) > 15


@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("variables", [VARIABLES[:2], VARIABLES], ids=["defaults", "variables"])
def test_a_target_gives_its_command_valid_options(
    monkeypatch: pytest.MonkeyPatch, target: str, variables: tuple[str, ...]
) -> None:
    ran: list[object] = []
    for kind in COMMANDS:
        monkeypatch.setattr(kind, "run", lambda command: ran.append(command))
    for module, arguments in calls(target, *variables):
        if module == "benchmark" and arguments[0] in ("plot", "report", "readme"):
            continue  # they take no option here
        typer.main.get_command(APPS[module]).main(arguments, standalone_mode=False)
        assert ran.pop()


def test_fuzz_finds_its_modules() -> None:
    (line,) = [one for one in dry_run("fuzz").splitlines() if "fuzz_contract" in one]
    subprocess.run(f"{line} --help", shell=True, cwd=ROOT, check=True, capture_output=True)
