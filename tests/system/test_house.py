"""The layout of the folders: what is held constant is the same bytes, and each folder stands alone."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from checkout import ROOT, tracked_modules
from conftest import EMBEDDED, SERVERS
from copied_server import check_it_serves

OWN = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}
# Floors of a folder, the lowest first: a module imports from its own and from those before it.
FLOORS = ("web", "runtime", "")
MAX_LINES = 250
MAX_FRAME_LINES, MAX_PROTOCOLS_LINES = 1_800, 650
MAX_DIFFERENT_LINES = 1_350
MAX_FILES = {"baseline": 6, "optimized": 10, "dynamic_batching": 21}


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def imports(folder: Path, path: Path) -> Iterator[str]:
    """What a module of a server imports as it is loaded: its own modules as "web.engine", else "package."."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(folder).parent.parts
    deferred = {
        inner for node in ast.walk(tree) if is_deferred(node) for inner in ast.walk(node) if inner is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name.partition('.')[0]}." for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield f"{(node.module or '').partition('.')[0]}."
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(package) + 1, f"{path} reaches outside its folder"
            if node not in deferred:
                start = package[: len(package) - node.level + 1]
                yield ".".join((*start, node.module or "__init__"))


def is_deferred(node: ast.AST) -> bool:
    """Whether imports below it are not done when the module is loaded, or for types alone."""
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return is_function or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")


def floor(module: str) -> int:
    return FLOORS.index(module.partition(".")[0] if "." in module else "")


def different_lines(first: Path, second: Path) -> int:
    command = ["diff", "-rN", "-x", "__pycache__", first, second]
    output = subprocess.run(command, capture_output=True, text=True).stdout
    return sum(line.startswith(("<", ">")) for line in output.splitlines())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("baseline/web", "optimized/web"),
        ("optimized/web", "dynamic_batching/web"),
        ("optimized/runtime", "dynamic_batching/runtime"),
    ],
)
def test_what_is_held_constant_is_the_same_bytes(first: str, second: str) -> None:
    assert contents(ROOT / first), "it is empty"
    assert contents(ROOT / first) == contents(ROOT / second), "`make frames` copies a change to the others"


@pytest.mark.parametrize("name", SERVERS)
def test_no_server_imports_the_rest_of_the_project(name: str) -> None:
    for path in modules(ROOT / name):
        packages = {found[:-1] for found in imports(ROOT / name, path) if found.endswith(".")}
        assert not packages & OWN, path


@pytest.mark.parametrize("name", SERVERS)
def test_imports_go_down_and_in_no_circle(name: str) -> None:
    folder = ROOT / name
    graph = {}
    for path in modules(folder):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        graph[module] = {found for found in imports(folder, path) if not found.endswith(".")}
        for imported in graph[module]:
            assert floor(imported) <= floor(module), f"{module} imports {imported}, which is above it"
    TopologicalSorter(graph).prepare()


def test_the_check_sees_imports(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    bad = tmp_path / "web" / "bad.py"
    bad.write_text(
        "from benchmark.stats.figures import figures\nimport baseline.models\nfrom ..models import Models\n"
    )
    found = set(imports(tmp_path, bad))
    assert found == {"benchmark.", "baseline.", "models"} and floor("models") > floor("web.bad")


@pytest.mark.parametrize("name", SERVERS)
def test_a_folder_that_is_copied_alone_serves(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models").symlink_to(EMBEDDED)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    check_it_serves(name, tmp_path, {**environment, "GAP_THREADS": "1"})


def test_the_folders_stay_small() -> None:
    for path in tracked_modules():
        if not path.is_relative_to(ROOT / "tests"):
            assert len(path.read_text().splitlines()) <= MAX_LINES, path
    web = ROOT / "baseline" / "web"
    for part, most in (
        (web.glob("*.py"), MAX_FRAME_LINES),
        (web.rglob("protocols/*.py"), MAX_PROTOCOLS_LINES),
    ):
        assert sum(len(path.read_text().splitlines()) for path in part) <= most
    assert different_lines(ROOT / "baseline", ROOT / "optimized") <= MAX_DIFFERENT_LINES
    for name, most in MAX_FILES.items():
        files = [path.name for path in (ROOT / name).glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= most, files


def test_every_tracked_python_file_is_linted() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--show-files"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {*tracked_modules()} <= {Path(path) for path in shown.splitlines()}
