"""What the README and the Makefile promise: the commands exist, and the figures are those of the files."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.report.readme import REFERENCE, section, write_readme
from benchmark.runs.environment import ROOT

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


def test_the_readme_shows_the_main_commands() -> None:
    assert {"make bench", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_understood(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "curl":
        pytest.skip("the contract tests ask this of a real server")
    if words[0] == "make":
        dry = ["make", "--dry-run", *words[1:]]
    else:
        assert words[0] in (".venv/bin/python", ".venv/bin/locust")
        program = [sys.executable] if words[0].endswith("python") else [sys.executable, "-m", "locust"]
        dry = [*program, *words[1:], *([] if "--help" in words else ["--help"])]
    ended = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_variables_reach_the_benchmark() -> None:
    command = ["make", "--dry-run", "bench", "SOURCE=random", "DURATION=7", "REPEATS=2", "USERS=3,4"]
    dry = subprocess.run(
        [*command, "TASKS=sentiment", "RUN=again"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "optimize_model.py --source random --kernels auto --output models-random" in dry
    assert (
        "--models models-random --tasks sentiment --users 3,4 --duration 7 --repeats 2 --name again"
        in " ".join(dry.replace("\\\n", " ").split())
    )


def test_help_lists_every_target() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    unfolded = MAKEFILE.replace("\\\n", " ")
    phony = set(re.search(r"^\.PHONY: (.*)$", unfolded, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    assert targets == phony == set(re.findall(r"^  make ([a-z-]+)", listed, flags=re.MULTILINE))


def test_the_readme_shows_the_figures_of_the_reference_run(tmp_path: Path) -> None:
    # The chart's path is relative to the page, so the copy has the repository's layout.
    shutil.copytree(REFERENCE, tmp_path / "results" / "reference")
    copy = tmp_path / "README.md"
    copy.write_text(README)
    assert not write_readme(copy, tmp_path / "results" / "reference"), "`make readme` has not been run"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / picture).is_file()


def test_a_section_is_replaced_once_and_again() -> None:
    once = section("a\n<!-- x -->\nb", "x", "1")
    assert section(once, "x", "2") == "a\n<!-- x -->\n2\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="not 0"):
        section("a", "x", "1")
