"""A server folder can be copied into another project: it imports nothing of this one but itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = [name for name in ("baseline", "optimized", "dynamic_batching") if (ROOT / name).is_dir()]
OWN = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, f"{path.name} reaches outside its folder"
            if node.level == 0 and node.module:
                names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_server_imports_the_rest_of_the_project(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        assert not imported(path) & OWN, path.name


def test_the_check_sees_an_import(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("from benchmark.stats import figures\nimport baseline.models\n")
    assert imported(tmp_path / "bad.py") & OWN == {"benchmark", "baseline"}
