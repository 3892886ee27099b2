"""The roofline: what bounds an operator, how near it comes, and that the kernels measure the CPU."""

from pathlib import Path

import pytest
from conftest import EMBEDDED, native_kernels
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.experiments.operator_profile import Operator
from benchmark.experiments.roofline import Roof, measure_roof, rows
from benchmark.measure.processes import ProcessFailed
from benchmark.report.roofline import operator_rows
from benchmark.runs.records import read_json

ROOF = Roof(1e9, [(1_000, 1e8), (10_000, 1e7)])


def test_few_rows_are_bound_by_the_weights_and_many_by_the_products() -> None:
    assert ROOF.seconds(100, 100, 500) == (1e-6, "weights")
    assert ROOF.seconds(100, 100, 5_000) == (1e-5, "weights"), "its graph does not fit the first level"
    assert ROOF.seconds(1e6, 100, 500) == (1e-3, "products")
    assert ROOF.bytes_per_s(10**9) == 1e7, "more than any cache holds comes from the last level"


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=9), st.floats(1, 1e8))
def test_shares_of_the_roof_follow_from_the_runs(seconds: list[float], products: float) -> None:
    slow = Operator("step", "RowLinear", 64, products, 10, 500, seconds)
    other = Operator("step", "Attention", 64, 0.0, 0, 500, [sum(seconds)])
    first, second = rows([slow, other], ROOF)
    linear, attention = (first, second) if first["operator"] == "RowLinear" else (second, first)
    assert linear["share_of_time"] == pytest.approx(0.5) and attention["share_of_roof"] is None
    least_s = max(products / 1e9, 10 / 1e8)
    assert linear["share_of_roof_best"] == pytest.approx(least_s / min(seconds))
    assert linear["share_of_roof"] <= linear["share_of_roof_best"] * (1 + 1e-9)


def test_the_kernels_measure_more_from_registers_than_from_memory() -> None:
    roof = measure_roof(native_kernels())
    assert roof.products_per_s > 1e9
    assert roof.levels[0][1] > roof.levels[-1][1] > 1e8
    assert [size for size, _ in roof.levels] == sorted(size for size, _ in roof.levels)


def test_another_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="measures no roof"):
        measure_roof(tmp_path / "none.so")


def test_the_command_writes_every_operator(tmp_path: Path) -> None:
    native_kernels()
    arguments = ["roofline", "--models", str(EMBEDDED), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*arguments, "--slots", "8"])
    assert ended.exit_code == 0, ended.output
    record = read_json(tmp_path / "run" / "roofline.json")
    for task, graphs in (("translation", {"encoder", "decoding step"}), ("sentiment", {"classifier"})):
        operators = record["tasks"][task]["operators"]
        assert {one["graph"] for one in operators} == graphs
        assert sum(one["share_of_time"] for one in operators) == pytest.approx(1)
        linear = [one for one in operators if one["operator"].startswith("RowLinear")]
        assert linear and all(0 < one["share_of_roof"] <= one["share_of_roof_best"] < 1.2 for one in linear)
        shown = [*operator_rows(record["tasks"][task])]
        assert 0 < len(shown) < len(operators)
