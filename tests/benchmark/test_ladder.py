"""The ladder: every rung a configuration of its own, factors that follow from the files, a chart of them."""

from pathlib import Path
from statistics import geometric_mean

import numpy as np
import pandas as pd
import pytest
from conftest import EMBEDDED

from benchmark.charts import draw as plots
from benchmark.charts.data import RunData
from benchmark.commands.session import read_manifest
from benchmark.experiments.ladder import KIND, LadderPlan, Models, configurations, rungs
from benchmark.experiments.ladder_figures import ladder_of, write_ladder
from benchmark.measure.configurations import default_configuration
from benchmark.report.blocks import ladder as ladder_table
from benchmark.report.reference import Reference
from benchmark.runs.records import TASKS, RunFiles, read_json, write_json
from benchmark.stats import figures as stats
from benchmark.stats.formatting import format_factor, format_figure
from model_export import verify
from model_export.float32 import prepare_float32
from model_export.instruction_sets import AVX2
from model_export.manifest import Manifest, float32_folder

DURATION_S = 10.0
RATES = {
    "pytorch_eager": 12.0,
    "onnx_float32": 36.0,
    "onnx_int8": 60.0,
    "native_kernels": 90.0,
    "no_cache": 90.0,
    "static_batching": 150.0,
    "request_batching": 180.0,
    "continuous_batching": 270.0,
    "vocabulary_screening": 324.0,
    "redis_cache": 400.0,
}
PLAN = LadderPlan(tuple(RATES), TASKS, (("unique", 1), ("zipf", 1)), (50,), 3, DURATION_S, 1.0, 60.0)


def answered(rate: float, seed: int, hits: bool) -> pd.DataFrame:
    ends = np.arange(-1, DURATION_S, 1 / rate)
    latencies_ms = 50 / rate * 1e3 * np.random.default_rng(seed).lognormal(0, 0.1, len(ends))
    return pd.DataFrame(
        {
            "start_s": ends - latencies_ms / 1e3,
            "latency_ms": latencies_ms,
            "texts": 1,
            "ok": True,
            "error": None,
            "queue_ms": 1.0,
            "inference_ms": 1.0,
            "cache": np.where(np.arange(len(ends)) % 4 > 0, "hit", "miss") if hits else None,
        }
    )


@pytest.fixture
def run(tmp_path: Path) -> RunFiles:
    """A ladder whose machine is 20 % slower in each round than in the one before: no factor feels it."""
    models = Models(EMBEDDED, read_manifest(EMBEDDED))
    known = {"native_kernels": default_configuration("optimized", EMBEDDED, models.manifest)}
    known["vocabulary_screening"] = default_configuration("dynamic_batching", EMBEDDED, models.manifest)
    known |= configurations(models, models, models)
    files = RunFiles(tmp_path / "ladder")
    files.write_run({"name": "ladder", "kind": KIND, "plan": PLAN.as_json(), "environment": {}, "models": {}})
    files.cells_folder.mkdir()
    for seed, cell in enumerate(PLAN.cells()):
        rate = RATES[cell.server] * 0.8**cell.repeat
        configuration = known[cell.server]
        answered(rate, seed, configuration.cached).to_csv(files.requests_path(cell), index=False)
        found = stats.figures(files.read_requests(cell), DURATION_S)
        found |= {"cold_start_s": 1.0, "rss_ready_bytes": 1e8, "rss_peak_bytes": 2e8, "load_cpu_percent": 9}
        record = {"status": "ok", "invalid_reasons": [], "figures": found}
        record["configuration"] = {"server": configuration.server}
        record["model"] = configuration.artefact(cell.task)
        files.write_cell(cell, record)
    return files


def test_each_round_holds_every_rung_once_and_begins_with_another() -> None:
    cells = list(PLAN.cells())
    assert len(cells) == len(set(cells)) == 3 * (10 + 7)
    for task, count in (("translation", 10), ("sentiment", 7)):
        firsts = set()
        for repeat in (1, 2, 3):
            own = [cell for cell in cells if (cell.task, cell.repeat) == (task, repeat)]
            assert len(own) == count
            firsts.add(own[0].server)
        assert len(firsts) == 3


def test_a_ladders_plan_survives_its_file(tmp_path: Path) -> None:
    RunFiles(tmp_path).write_run({"plan": PLAN.as_json()})
    assert LadderPlan.from_json(RunFiles(tmp_path).read_run()["plan"]) == PLAN


@pytest.mark.parametrize(
    ("facts", "count"),
    [
        ({"kernels": "native", "screening": {"first_dimensions": 96}}, 8),
        ({"kernels": "native", "screening": {}}, 7),
        ({"kernels": "onnxruntime"}, 6),
    ],
)
def test_one_decision_sets_each_rung_apart(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, object], count: int
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://of.the.user")
    int8, plain, float32 = (Models(Path(name), {"artefacts": {"translation/onnx": {}}}) for name in "ipf")
    int8.manifest["artefacts"]["translation/onnx"] |= facts
    known = configurations(int8, plain, float32)
    seen = []
    for rung in rungs("translation", "unique", known):
        environment = known[rung.configuration].environment("redis://of.the.run")
        assert environment["REDIS_URL"] is None, "no rung of the climb has a cache"
        seen.append((known[rung.configuration].server, *map(str, environment.values())))
    assert len(set(seen)) == len(seen) == count
    cached = known["redis_cache"].environment("redis://of.the.run")
    without = known["no_cache"].environment("redis://of.the.run")
    assert {key for key in cached if cached[key] != without[key]} == {"REDIS_URL"}


def test_a_rungs_factor_is_over_the_one_below_in_the_same_rounds(run: RunFiles) -> None:
    ladder = ladder_of(run)
    factors = {
        (step.task, step.rung.configuration, step.rung.workload): step.factor.value
        for step in ladder
        if step.factor
    }
    assert factors["translation", "onnx_float32", "unique"] == pytest.approx(3, rel=0.03)
    assert factors["translation", "onnx_int8", "unique"] == pytest.approx(60 / 36, rel=0.03)
    assert factors["translation", "native_kernels", "unique"] == pytest.approx(1.5, rel=0.03)
    assert factors["translation", "continuous_batching", "unique"] == pytest.approx(1.5, rel=0.03)
    assert factors["sentiment", "redis_cache", "zipf"] == pytest.approx(400 / 90, rel=0.03)
    assert ("sentiment", "continuous_batching", "unique") not in factors
    for step in ladder:
        if step.factor:
            assert step.factor.interval.high / step.factor.interval.low < 1.1, "rounds differ by 20 % each"
            assert step.p95_factor is not None and step.p95_factor.value < 1
    climb = [step.factor.value for step in ladder if step.factor and step.rung.workload == "unique"][:7]
    assert geometric_mean(climb) ** 7 == pytest.approx(324 / 12, rel=0.05)


def test_the_readmes_table_is_the_ladder(run: RunFiles) -> None:
    record = run.read_run()
    record["environment"] = {"machine": {"cpu": "Test CPU"}, "cores": {"server": [0]}, "commit": "abc"}
    made_for = {"kernels": "native", "cpu_flags": [*AVX2.flags], "trained": False}
    record["models"] = {"source": "random", "artefacts": {"translation/onnx": made_for}}
    run.write_run(record)
    reference = Reference(run.folder.parent, "results/reference")
    for task in TASKS:
        text = ladder_table(reference, run.folder.name, task)
        lines = [line for line in text.splitlines() if line[:1] == "|" and "---" not in line]
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        steps = [step for step in ladder_of(run) if step.task == task]
        for row, step in zip(rows[1:], steps, strict=True):
            hits = ", 75% hits" if step.rung.configuration == "redis_cache" else ""
            texts = ", repeated texts" if step.rung.workload == "zipf" else ""
            assert row[0] == f"{step.rung.decision}{texts}{hits}"
            assert row[1] == format_figure(step.figures["throughput_rps"]) and row[5:] == ["1", "200"]
            assert row[2].startswith(format_factor(step.factor.value) if step.factor else "–")
        context = (
            "Test CPU, server 1 core, kernels for AVX2, random weights, 10 s a cell, 3 repeats, commit abc"
        )
        assert context in text
    assert ladder_table(reference, "no-such-run", TASKS[0]) == ""


def test_the_table_on_disk_is_the_ladder(run: RunFiles) -> None:
    ladder = ladder_of(run)
    written = pd.read_csv(write_ladder(run, ladder))
    assert len(written) == len(ladder) == 10 + 7
    for (_, row), step in zip(written.iterrows(), ladder, strict=True):
        assert row["throughput_rps"] == pytest.approx(step.figures["throughput_rps"])
        assert row["model_bytes"] > 1e6 and row["rss_peak_bytes"] == 2e8
    assert set(written["rps_is"].dropna()) == {"faster"}
    assert written["cache_hit_rate"].dropna().tolist() == pytest.approx([0.75] * 2, abs=0.01)


@pytest.mark.parametrize("format_", [plots.style.PICTURE, plots.style.INLINE], ids=["picture", "report"])
def test_the_charts_texts_stay_apart_and_on_the_sheet(run: RunFiles, format_: plots.style.Format) -> None:
    data = RunData(run)
    drawn = plots.drawings(data)
    assert [drawing.name for drawing in drawn] == ["ladder-translation-u50", "ladder-sentiment-u50"]
    for drawing in drawn:
        with plots.style.applied(format_):
            sheet = drawing.draw()
            sheet.lay_out()
            (ax,) = sheet.figure.axes
            texts = [text for text in (*ax.texts, *ax.get_yticklabels()) if text.get_text()]
            boxes = [text.get_window_extent() for text in texts]
        assert len(boxes) > 20 and "x" in sheet.title
        for index, box in enumerate(boxes):
            assert box.x0 >= 0 and box.x1 <= sheet.figure.bbox.x1
            assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_a_title_says_when_a_step_is_missing(run: RunFiles) -> None:
    assert "steps valid" not in plots.drawings(RunData(run))[0].draw().title
    for path in run.cells_folder.glob("pytorch_eager-translation-*.json"):
        write_json(path, {**read_json(path), "status": "invalid", "invalid_reasons": ["wrong"]})
    assert plots.drawings(RunData(run))[0].draw().title.endswith("with 7 of 8 steps valid")


def test_float32_graphs_are_prepared_as_the_server_loads_them_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TEXTS", 8)
    models = tmp_path / "models"
    models.symlink_to(EMBEDDED)
    lines: list[str] = []
    made = prepare_float32(Manifest(models), lines.append)
    assert made.folder == float32_folder(models) == tmp_path / "models-float32"
    for task in TASKS:
        artefact, int8 = made.artefacts[f"{task}/onnx"], Manifest(models).artefacts[f"{task}/onnx"]
        assert artefact["format"] == "ONNX Runtime float32"
        # Screening of the vocabulary has the output projection a second time.
        assert (2.7 if int8.get("screening") else 3.5) < artefact["bytes"] / int8["bytes"] < 4.2
        own = {"kernels.so", "greedy.onnx", "screened.onnx"}
        assert artefact["files"].keys() == int8["files"].keys() - own
    assert made.artefacts["translation/onnx"]["verification"]["float32_graph_same_tokens"] == 1
    before = made.path.stat().st_mtime_ns
    prepare_float32(Manifest(models), lines.append)
    assert made.path.stat().st_mtime_ns == before and "up to date, kept" in lines[-1]
