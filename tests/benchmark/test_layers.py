"""The packages of benchmark/ lie in layers: each imports from itself and from those below, in no cycle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from checkout import ROOT

LAYERS = ("runs", "stats", "measure", "experiments", "charts", "report", "commands")
BENCHMARK = ROOT / "benchmark"


def modules() -> dict[str, Path]:
    """Dotted name below `benchmark.` -> file, of every module in a layer."""
    paths = [path for path in BENCHMARK.rglob("*.py") if path.parent != BENCHMARK]
    return {".".join(path.relative_to(BENCHMARK).with_suffix("").parts): path for path in paths}


def imported(source: str, known: set[str]) -> Iterator[str]:
    """The modules among `known` that `source` imports anywhere, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from {name.removeprefix("benchmark.") for name in names} & known


def layer(module: str) -> int:
    return LAYERS.index(module.partition(".")[0])


def test_no_module_imports_from_a_layer_above_its_own() -> None:
    found = modules()
    for name, path in found.items():
        for other in imported(path.read_text(), {*found}):
            assert layer(other) <= layer(name), f"{name} imports {other}, which is above it"


def test_no_import_closes_a_cycle() -> None:
    found = modules()
    TopologicalSorter(
        {name: [*imported(path.read_text(), {*found})] for name, path in found.items()}
    ).prepare()


@pytest.mark.parametrize(
    "line",
    [
        "from benchmark.charts import sheet",
        "import benchmark.charts.sheet",
        "def f():\n    from benchmark.charts.sheet import Sheet",
    ],
)
def test_the_check_sees_every_form_of_import(line: str) -> None:
    assert "charts.sheet" in [*imported(line, {"charts.sheet", "runs.plan"})]
    assert layer("charts.sheet") > layer("stats.figures")
