"""The first page's figures: which run speaks, what its table says, and what is quoted beside it."""

import random
import re
from pathlib import Path

import pytest
from made_runs import make_run

from benchmark.charts import caption, headline, sentences, titles
from benchmark.charts.data import RunData
from benchmark.report.known_figures import known_figures
from benchmark.report.reference_page import reference_page
from benchmark.report.reference_runs import figure, reference_runs
from benchmark.report.summary import summary
from benchmark.runs.records import SERVERS, Cell, RunFiles, RunNotFound
from benchmark.stats.formatting import format_figure
from benchmark.stats.repeats import repeats_of
from model_export.instruction_sets import AVX2, AVX512_VNNI


def test_the_run_of_most_servers_then_of_hub_size_then_of_most_repeats_speaks_first(tmp_path: Path) -> None:
    make_run(tmp_path / "a-one", users=(50,), repeats=3, source="random")
    make_run(tmp_path / "b-small", SERVERS, users=(50,), repeats=3)
    make_run(tmp_path / "c-once", SERVERS, users=(50,), source="random")
    make_run(tmp_path / "d-often", SERVERS, users=(50,), repeats=3, source="random")
    names = [run.files.folder.name for run in reference_runs(tmp_path)]
    assert names == ["d-often", "c-once", "b-small", "a-one"]
    with pytest.raises(RunNotFound):
        reference_runs(tmp_path / "none")


def test_a_figure_comes_from_the_first_run_with_a_valid_cell(tmp_path: Path) -> None:
    broken = make_run(
        tmp_path / "1", ("baseline",), users=(50,), states={("baseline", 50, 1): "invalid"}, repeats=1
    )
    slow = make_run(tmp_path / "2", ("baseline",), users=(50,), rates={"baseline": 4.0})
    runs = [RunData(broken), RunData(slow)]
    assert figure(runs, "throughput_rps", "baseline", "translation", "unique", 50) == (4.0, runs[1])
    assert figure(runs, "p95_ms", "baseline", "translation", "unique", 50) == (None, runs[1])
    assert figure(runs, "p95_ms", "optimized", "translation", "unique", 50) is None


def test_the_small_table_has_a_row_a_server_with_its_ratio(tmp_path: Path) -> None:
    run = make_run(tmp_path, SERVERS, users=(10, 50), repeats=3)
    rows = {row["server"]: row for row in summary(RunData(run), repeats_of(run))}
    rates = {server: run_figure(run, server, "throughput_rps") for server in SERVERS}
    for server, row in ((server, rows[server.replace("_", " ")]) for server in SERVERS):
        assert float(row["requests/s"]) == pytest.approx(rates[server], rel=0.05)
        if server != "baseline":
            told = re.match(r"([\d.]+)x \(([\d.]+)x to ([\d.]+)x", row["times the baseline"])
            assert told
            ratio, low, high = map(float, told.groups())
            assert ratio == pytest.approx(rates[server] / rates["baseline"], rel=0.06)
            assert low <= ratio <= high
    assert rows["baseline"]["times the baseline"] == "1"


def run_figure(run: RunFiles, server: str, name: str) -> float:
    record = next(
        one for one in run.read_cells() if (one["cell"]["server"], one["cell"]["users"]) == (server, 50)
    )
    return record["figures"][name]


def test_a_headline_is_true() -> None:
    for rng in map(random.Random, range(200)):
        rates = {
            task: {server: 10 ** rng.uniform(-1, 3) for server in SERVERS if rng.random() > 0.2}
            for task in ("translation", "sentiment")
        }
        sentence = sentences.headline(rates, 50)
        assert sentence.startswith("At 50 users ")
        for task, found in rates.items():
            best = max(found, key=found.__getitem__, default="")
            told = re.search(rf"([\d.]+)x (?:the baseline's|its) {task}", sentence)
            if told:
                assert float(told[1]) == pytest.approx(found[best] / found["baseline"], rel=0.06)
                assert titles.inline(best) in sentence
            elif "baseline" in found:
                assert found[best] <= 1.1 * found["baseline"]


def test_the_headline_asks_the_level_beside_50_users_where_50_are_not_measured(tmp_path: Path) -> None:
    assert headline.level_of(RunData(make_run(tmp_path, users=(10, 40, 100)))) == 40


def test_quoted_figures_stand_as_quoted_beside_those_of_the_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SERVERS, users=(1, 50), source="random")
    told = known_figures([RunData(run)])
    for quoted in (
        "about 12 RPS, 460 ms, 3,600 ms: functional",
        "about 12 RPS, 3,700 ms, 6,200 ms: saturated",
        "about 12 RPS, 7,700 ms, 11,000 ms: latency collapse",
        "| about 300 MB | 75 MB |",
        "| 2.5 s | 0.8 s |",
        "| 150 ms | 40 ms |",
        "10-15 RPS",
        "500+ RPS with batching and cache hits",
    ):
        assert quoted in told
    rates = [format_figure(run_figure(run, server, "throughput_rps")) for server in SERVERS]
    assert f"| {' | '.join(f'{rate} RPS' for rate in rates)} |" in told
    assert told.count("(not measured)") == 3 * 9 + 3  # no sentiment, no repeated texts


def test_the_page_of_the_runs_has_every_valid_cell_and_says_how_many_are_not(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SERVERS, repeats=1, states={("optimized", 10, 1): "invalid"})
    (tmp_path / "overload" / "open_loop").mkdir(parents=True)
    (tmp_path / "overload" / "open_loop" / "x.json").write_text("{}")
    page = reference_page([RunData(run)], tmp_path)
    assert "1 of 6 cells are invalid or failed." in page
    assert "[x.json](overload/open_loop/x.json)" in page
    for record in run.read_cells():
        cell = Cell(**record["cell"])
        row = f"| {cell.users} | {cell.server.replace('_', ' ')} | {record['figures']['texts_per_s']:,.1f} |"
        assert (row in page) == (record["status"] == "ok")
    for address in re.findall(r"\]\(([^)]*)\)", page):
        assert (tmp_path / address).exists()


def test_kernels_are_named_by_their_instructions() -> None:
    told = [caption.kernels({"kernels": "native", "cpu_flags": [*it.flags]}) for it in (AVX2, AVX512_VNNI)]
    assert told == ["kernels for AVX2", "kernels for AVX-512 VNNI"]
    assert caption.kernels({"kernels": "onnxruntime"}) == "ONNX Runtime's kernels"
    assert caption.kernels({"format": "PyTorch float32"}) == ""
