"""The share of the vocabulary that screening finishes, measured on the embedded model."""

from pathlib import Path

import pytest
import typer
from conftest import EMBEDDED
from typer.testing import CliRunner

from model_export import screening_shares

LINES = "Two dogs run through the snow.\n\nThe weather is fine today.\nWhere is the station?\n"


def run(*arguments: object) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(screening_shares.main)
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_larger_first_block_leaves_a_smaller_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening_shares, "TEXTS", 12)
    (tmp_path / "short.txt").write_text(LINES)
    code, table, _ = run("--models", EMBEDDED, "--texts", tmp_path / "short.txt")
    assert code == 0
    heading, *rows = table.splitlines()
    assert heading.split() == ["64", "of", "256", "96", "of", "256", "128", "of", "256", "160", "of", "256"]
    assert [row.split("  ")[0] for row in rows] == ["generated, held out", str(tmp_path / "short.txt")]
    for row in rows:
        shares = [float(share.removesuffix("%")) for share in row.split()[-4:]]
        assert shares == sorted(shares, reverse=True) and 0 < shares[-1] < 1 < shares[0] < 100


@pytest.mark.parametrize("content", [None, b"\n \n", b"\xff\xfe"])
def test_a_file_without_text_ends_with_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_bytes(content)
    code, _, error = run("--models", EMBEDDED, "--texts", path)
    assert code == 1 and len(error.splitlines()) == 1 and str(path) in error


def test_a_folder_without_models_ends_with_one_line(tmp_path: Path) -> None:
    code, _, error = run("--models", tmp_path)
    assert code == 1 and len(error.splitlines()) == 1 and str(tmp_path) in error
