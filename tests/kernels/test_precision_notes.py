"""Charts, reports and tables say which models are not all INT8, and whose quality was not checked."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import make_run

from benchmark.charts import draw as plots
from benchmark.charts.caption import circumstances_of_records
from benchmark.charts.data import RunData
from benchmark.report.blocks import run_circumstances
from benchmark.report.html import limitations, write_report
from benchmark.report.tables import every_cell, models
from benchmark.runs.records import RunFiles
from model_export.precision import format_figures, precision_of, remarks, verified

LAYERS = [f"layer.{index}" for index in range(73)]
INT8 = {"format": "ONNX Runtime INT8", "precision": {"int8": LAYERS, "float32": []}, "trained": True}
MIXED = INT8 | {"precision": {"int8": LAYERS[3:], "float32": LAYERS[:3]}}
FLOAT32 = {
    "format": "ONNX Runtime float32",
    "precision": {"int8": [], "float32": LAYERS},
    "trained": True,
}
UNCHECKED = INT8 | {"quality_checked": False}
NOTES = [
    (MIXED, "translation: INT8, 3 of 73 layers float32"),
    (FLOAT32, "translation: float32 (INT8 missed its quality bound)"),
    (UNCHECKED, "translation: INT8 quality not checked"),
]


def run_with(folder: Path, facts: dict[str, Any]) -> RunFiles:
    """A run of two servers, one on PyTorch and one on an ONNX artefact with these facts."""
    run = make_run(folder, ("baseline", "optimized"))
    record = run.read_run()
    artefact = record["models"]["artefacts"]["translation/pytorch"] | {"format": "PyTorch float32"}
    record["models"]["artefacts"]["translation/onnx"] = artefact | facts
    run.write_run(record)
    for path in run.cells_folder.glob("optimized-*.json"):
        cell = json.loads(path.read_text())
        path.write_text(json.dumps(cell | {"model": cell["model"] | facts}))
    return run


def test_every_chart_and_the_report_say_what_is_not_all_int8(tmp_path: Path) -> None:
    facts, note = NOTES[0]
    run = run_with(tmp_path / "run", facts)
    for drawing in plots.drawings(RunData(run)):
        assert note in " ".join(" ".join(drawing.draw().caption).split()), drawing.name
    page = write_report(run).read_text(encoding="utf-8")
    assert f"{note}." in page and precision_of(facts) in page


@pytest.mark.parametrize(("facts", "note"), NOTES)
def test_what_is_not_all_int8_is_a_circumstance_of_a_run_and_a_limitation(
    tmp_path: Path, facts: dict[str, Any], note: str
) -> None:
    run = run_with(tmp_path / "run", facts)
    data = RunData(run)
    assert f"{note}." in limitations(data, every_cell(data))
    assert precision_of(facts) in models(data)["precision"].tolist()
    assert note in run_circumstances(data)
    record = {"environment": run.read_run()["environment"], "model": {"task": "translation", **facts}}
    assert note in circumstances_of_records([record])


def test_nothing_is_said_of_models_that_are_all_int8(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", INT8)
    captions = [" ".join(drawing.draw().caption) for drawing in plots.drawings(RunData(run))]
    assert captions and not any("INT8" in caption or "float32" in caption for caption in captions)
    assert remarks({"format": "ONNX Runtime INT8"}) == remarks({"format": "PyTorch float32"}) == []
    assert remarks(UNCHECKED | {"trained": False}) == [], "random weights have no quality"


def test_an_artefact_is_described_in_words() -> None:
    assert precision_of({"format": "PyTorch float32"}) == "float32"
    assert precision_of({"format": "ONNX Runtime INT8"}) == precision_of(INT8) == "INT8"
    assert precision_of(MIXED) == "INT8, 3 of 73 layers float32"
    figures = {"texts": 500, "label_agreement": 0.998, "label_agreement_interval_95": [0.98893, 0.99991]}
    assert format_figures(figures) == "texts 500, label agreement 0.998 (0.9889 to 0.9999)"
    assert verified({"verification": figures} | UNCHECKED).endswith(", quality not checked")
    assert verified({}) == ""
