"""Two revisions of a server are measured in turns, from checkouts that are gone afterwards."""

from pathlib import Path

import pytest
from checkout import ROOT
from conftest import EMBEDDED
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.experiments.compare_revisions import checked_out, git, is_revision
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import RunFiles

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")


def worktrees() -> str:
    return git("worktree", "list", "--porcelain").stdout


def test_two_revisions_are_measured_in_turns_and_their_checkouts_removed(tmp_path: Path) -> None:
    before = worktrees()
    command = [
        "compare",
        "HEAD",
        ".",
        "--models",
        str(EMBEDDED),
        "--results",
        str(tmp_path),
        "--name",
        "both",
    ]
    command += ["--tasks", "sentiment", "--users", "2", "--duration", "1", "--warmup", "0", "--repeats", "1"]
    ended = CliRunner().invoke(app, [*command, "--load-generator-limit", "0"])
    assert ended.exit_code == 0, ended.output
    assert "A: HEAD, B: ." in ended.output
    assert "n < 3 rounds" in ended.output
    files = RunFiles(tmp_path / "both")
    assert files.read_run()["revisions"] == ["HEAD", "."]
    assert [record["cell"]["server"] for record in files.read_cells()] == ["a", "b"]
    assert worktrees() == before


def test_a_revision_is_checked_out_without_the_changes_that_are_not_committed() -> None:
    with checked_out("HEAD") as folder:
        assert folder != ROOT
        head = git("show", "HEAD:dynamic_batching/server.py").stdout
        assert (folder / "dynamic_batching" / "server.py").read_text() == head
    assert not folder.exists()


def test_only_commits_and_the_working_tree_are_revisions(tmp_path: Path) -> None:
    assert is_revision("HEAD") and is_revision(".")
    assert not is_revision("no-such-revision") and not is_revision("--help")
    with (
        pytest.raises(ProcessFailed, match="git cannot check out no-such-revision"),
        checked_out("no-such-revision"),
    ):
        pass
    ended = CliRunner().invoke(app, ["compare", "HEAD", "no-such", "--results", str(tmp_path)])
    assert ended.exit_code == 2 and "no-such is no git revision" in ended.output
