"""What README.md and docs/ promise: figures are those of the files; names, links and commands work."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import serving

from benchmark.report.pages import BLOCK, filled, pages, write_pages
from benchmark.report.reference import Reference
from benchmark.runs.environment import ROOT
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import SERVERS

README = (ROOT / "README.md").read_text()
PAGES = {str(page.relative_to(ROOT)): page.read_text() for page in pages(ROOT)}
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {*re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE)}
FENCES = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
COMMANDS = list(
    dict.fromkeys(
        line
        for text in PAGES.values()
        for kind, block in FENCES.findall(text)
        for line in block.splitlines()
        if kind == "sh" and line.strip()
    )
)
MAX_LINES, MAX_README_WORDS = 150, 1_500
# Paths of the project: of its root, or of a server folder.
FOLDERS = [ROOT, *(ROOT / server for server in SERVERS)]
OWN_PATH = re.compile(r"(?:[\w-]+/)*[\w-]+\.(?:py|cpp|h|md|toml|txt)|(?:[\w-]+/)+")
MADE_BY_RUNS = {"results/", "models/", "cells/", "charts/"}


def test_every_generated_block_is_up_to_date(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results" / "reference", tmp_path / "results" / "reference")
    (tmp_path / "docs").mkdir()
    for name, text in PAGES.items():
        (tmp_path / name).write_text(text)
    assert not write_pages(tmp_path), "`make readme` has not been run"


def test_a_block_is_filled_once_and_again_and_unknown_ones_are_named(tmp_path: Path) -> None:
    reference = Reference(tmp_path, ".")
    text = "a\n<!-- settings -->\nbefore\n<!-- /settings -->\nb"
    once = filled(text, reference)
    assert "`GAP_MODELS_DIR`" in once and "before\n" not in once
    assert filled(once, reference) == once
    empty = filled("<!-- figures no-run -->\nold\n<!-- /figures -->", reference)
    assert empty == "<!-- figures no-run -->\n<!-- /figures -->"
    with pytest.raises(BenchmarkError, match="there is no block 'x'"):
        filled("<!-- x -->\n<!-- /x -->", reference)


def test_headline_and_ladder_are_of_one_commit_and_machine() -> None:
    environments = [
        json.loads((ROOT / "results" / "reference" / arguments.split()[0] / "run.json").read_text())[
            "environment"
        ]
        for name, arguments in BLOCK.findall(README)
        if name in ("figures", "ladder")
    ]
    first, *others = [(one["commit"], one["machine"]["cpu"]) for one in environments]
    assert others == [first] * len(others) != []


def test_reference_runs_hold_json_tables_and_pictures_alone() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "results/reference"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert listed and {Path(path).suffix for path in listed} <= {".json", ".csv", ".png"}
    for raw in ("cells/x.requests.csv.xz", "cells/x.samples.csv", "slots/x.trace.jsonl", "report.html"):
        ignored = ["git", "check-ignore", "--quiet", f"results/reference/run/{raw}"]
        assert subprocess.run(ignored, cwd=ROOT).returncode == 0, raw


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_and_well_formed(page: str) -> None:
    text = PAGES[page]
    assert len(text.splitlines()) <= MAX_LINES
    assert not re.search(r"^<!-- [a-z].* -->\n<!-- /", text, re.MULTILINE), "an empty block"
    assert page != "README.md" or len(text.split()) <= MAX_README_WORDS
    assert text.count("<!--") == 2 * len(BLOCK.findall(text)), "a marker without its partner"
    headings = re.findall(r"^#+ .*", FENCES.sub("", text), flags=re.MULTILINE)
    assert len(headings) == len({*headings})


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for address in re.findall(r"\]\((?!https?:)([^)\s]+)\)", PAGES[page]):
        path, _, anchor = address.partition("#")
        target = ((ROOT / page).parent / path) if path else ROOT / page
        assert target.exists(), address
        if anchor:
            assert anchor in {slug(line) for line in target.read_text().splitlines() if line[:1] == "#"}


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_target_that_is_named_exists(page: str) -> None:
    text = PAGES[page]
    commands = (line for code in code_of(text) for line in code.splitlines())
    named = {match[1] for match in map(re.compile(r"make ([a-z-]+)").match, commands) if match}
    assert named <= TARGETS
    for span in code_of(FENCES.sub("", text)):
        if OWN_PATH.fullmatch(span) and span not in MADE_BY_RUNS:
            assert any((folder / span).exists() for folder in FOLDERS), span


def code_of(text: str) -> list[str]:
    return [*(block for _, block in FENCES.findall(text)), *re.findall(r"`([^`\n]+)`", FENCES.sub("", text))]


def test_the_tree_of_the_readme_is_that_of_the_project() -> None:
    tree = next(block for kind, block in FENCES.findall(README) if not kind)
    for line in tree.splitlines():
        folders = FOLDERS[2:] if line.startswith(" ") else FOLDERS[:1]
        assert all((folder / line.split()[0]).exists() for folder in folders), line


@pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith("curl")])
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        dry = ["make", "--dry-run", *words[1:]]
    else:
        assert words[0] == ".venv/bin/python"
        dry = [sys.executable, *words[1:], *([] if "--help" in words else ["--help"])]
    ended = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_curl_commands_get_the_answers_that_the_readme_prints(tmp_path: Path) -> None:
    curl = [one for one in COMMANDS if one.startswith("curl")]
    assert "make serve-dynamic-batching SOURCE=embedded" in COMMANDS and len(curl) >= 3
    with serving("dynamic_batching", tmp_path) as server:
        answers = [
            subprocess.run(
                [
                    *shlex.split(command.replace("http://", "").replace("localhost:8000", server.url)),
                    "--fail",
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for command in curl
        ]
    assert f"The first answers `{answers[0]}`" in README
    assert all(json.loads(answer) for answer in answers)


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
    unfolded = MAKEFILE.replace("\\\n", " ")
    phony = set(re.search(r"^\.PHONY: (.*)$", unfolded, flags=re.MULTILINE)[1].split())  # type: ignore[index]
    assert TARGETS == phony == set(re.findall(r"^  make ([a-z-]+)", listed, flags=re.MULTILINE))
