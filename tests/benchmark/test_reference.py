"""The first page's figures: what its table says, and what is quoted next to it."""

import random
import re
from pathlib import Path

import pytest
from made_runs import make_run

from benchmark.charts import caption, headline, titles
from benchmark.charts.data import RunData
from benchmark.report.blocks import BLOCKS
from benchmark.report.known_figures import known_figures
from benchmark.report.markdown import TOO_FEW, table
from benchmark.report.reference import Reference
from benchmark.report.summary import summary
from benchmark.runs.errors import BenchmarkError
from benchmark.runs.records import SERVERS, RunFiles
from benchmark.stats.formatting import format_figure
from benchmark.stats.repeats import repeats_of
from model_export.instruction_sets import AVX2, AVX512_VNNI


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
        sentence = titles.headline(rates, 50)
        assert sentence.startswith("At 50 users ")
        for clause in sentence.removeprefix("At 50 users ").split(", "):
            assert " answers " in clause or not any(rates.values())
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


def test_quoted_figures_stand_as_quoted_with_their_source_next_to_those_of_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SERVERS, users=(10, 50), source="random")
    text = known_figures(RunData(run))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    columns = {row[0]: row[1:] for row in cells if row}
    for quoted in (
        "about 12 RPS, 460 ms, 3,600 ms: functional",
        "about 12 RPS, 3,700 ms, 6,200 ms: saturated",
        "about 12 RPS, 7,700 ms, 11,000 ms: latency collapse",
    ):
        assert quoted in text
    assert columns["model files"] == ["about 300 MB", "75 MB", *["298 MB"] * 3]
    assert columns["cold start"][:2] == ["2.5 s", "0.8 s"]
    assert columns["p95 (ours: 10 users)"][:2] == ["150 ms", "40 ms"]
    rates = [format_figure(run_figure(run, server, "throughput_rps")) for server in SERVERS]
    assert columns["throughput (ours: 50 users, unique texts)"][2:] == [f"{rate} RPS" for rate in rates]
    repeated = columns["throughput with cache hits (ours: 50 users, repeated texts)"]
    assert repeated[1:] == ["500+ RPS with batching and cache hits", *["not measured"] * 3]
    assert columns["10"][1:] == columns["100"][1:] == ["not measured"] * 3, "no sentiment was measured"
    assert "`nmt-performance-api`" in text and "`the-sentimentalyzer-service`" in text


@pytest.mark.parametrize("name", ["figures", "known-figures"])
def test_a_run_with_uncommitted_changes_is_refused(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path / "run", SERVERS, users=(50,))
    record = run.read_run()
    record["environment"]["dirty"] = True
    run.write_run(record)
    with pytest.raises(BenchmarkError, match="run was measured with uncommitted changes"):
        BLOCKS[name](Reference(tmp_path, "."), "run")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("finding", ("headline",)),
        ("chart", ("headline",)),
        ("figures", ()),
        ("ladder", ("translation",)),
        ("engines", ("translation", "mixed")),
        ("servers", ("translation", "50")),
        ("server-settings", ("translation",)),
        ("blocking", ()),
        ("known-figures", ()),
    ],
)
def test_a_block_of_a_run_that_is_not_there_is_empty(
    tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    assert BLOCKS[name](Reference(tmp_path, "."), "no-such-run", *arguments) == ""


def test_what_a_table_lacks_is_told_from_what_has_too_few_samples() -> None:
    rows = [{"server": "a", "p95, ms": TOO_FEW["p95, ms"]}, {"server": "b", "p95, ms": "1,240"}]
    heading, align, first, _ = table(rows).splitlines()
    assert "p95, ms" in heading and first.split("|")[2].strip() == "n < 93"
    assert align.split("|")[1].startswith(":") and align.split("|")[2].endswith(":"), "figures stand right"
    assert table([]) == ""


def test_kernels_are_named_by_their_instructions() -> None:
    told = [caption.kernels({"kernels": "native", "cpu_flags": [*it.flags]}) for it in (AVX2, AVX512_VNNI)]
    assert told == ["kernels for AVX2", "kernels for AVX-512 VNNI"]
    assert caption.kernels({"kernels": "onnxruntime"}) == "ONNX Runtime's kernels"
    assert caption.kernels({"format": "PyTorch float32"}) == ""
