"""A soak sees what grows; short and long requests are the same in both rounds of a mix; traces are whole."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import EMBEDDED
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.charts.draw import draw_experiments
from benchmark.experiments.batch_timeline import FOLDER, read_trace, record_trace, trace_path
from benchmark.experiments.head_of_line_blocking import ratios
from benchmark.experiments.soak import growth
from benchmark.measure.configurations import default_configuration
from benchmark.measure.target import Target
from benchmark.runs.plan import Cores
from benchmark.runs.records import RunFiles, read_json
from benchmark.stats.open_loop import COLUMNS
from dynamic_batching.sequence import Batch, Request, Sequence, Steps
from dynamic_batching.trace import Trace


def samples(rss: list[int], files: list[int]) -> pd.DataFrame:
    count = len(rss)
    answered = [round(1000 * (index + 1) / count) for index in range(count)]
    return pd.DataFrame(
        {"time_s": range(count), "answered": answered, "server_rss_bytes": rss, "server_open_files": files}
    )


def test_growth_is_the_most_after_the_first_tenth_over_what_there_was_then() -> None:
    flat = growth(samples([50, *[100] * 9], [3, *[60] * 9]), 1000)
    assert (flat["rss_first_tenth_bytes"], flat["rss_growth"]) == (50, 1.0)
    later = growth(samples([10, *[100] * 19], [9] * 20), 1000)
    assert (later["rss_first_tenth_bytes"], later["rss_growth"]) == (100, 0)
    swollen = growth(samples([10, *[100] * 9, 103, *[100] * 9], [9] * 20), 1000)
    assert swollen["rss_growth"] == pytest.approx(0.03)
    assert swollen["rss_last_bytes"] == 100


def test_a_soak_of_a_real_server_leaves_nothing_behind(tmp_path: Path) -> None:
    options = ["--requests", "300", "--users", "8", "--models", str(EMBEDDED), "--name", "run"]
    ended = CliRunner().invoke(app, ["soak", "--results", str(tmp_path), *options])
    found = read_json(tmp_path / "run" / "soak" / "dynamic_batching-translation.json")["figures"]
    # So few requests say nothing of memory: the exit code is not held to anything.
    assert found["answered"] >= 300 and found["wrong"] == 0, ended.output
    assert found["occupied_slots_after"] == found["pending_after"] == 0
    table = pd.read_csv(tmp_path / "run" / "soak" / "dynamic_batching-translation.samples.csv")
    assert table["answered"].is_monotonic_increasing and (table["server_open_files"] > 0).all()


def test_a_mix_sends_the_same_short_texts_with_and_without_the_long_ones(tmp_path: Path) -> None:
    options = ["--rate", "60", "--long-share", "0.2", "--long-tokens", "40", "--repeats", "1"]
    options += ["--duration", "2", "--warmup", "0", "--models", str(EMBEDDED), "--name", "run"]
    ended = CliRunner().invoke(app, ["head-of-line-blocking", "--results", str(tmp_path), *options])
    assert ended.exit_code == 0, ended.output
    folder = tmp_path / "run" / "head_of_line_blocking"
    short, mixed = (
        pd.read_csv(folder / f"dynamic_batching-translation-{kind}-1.requests.csv.xz", dtype=COLUMNS)
        for kind in ("short", "mixed")
    )
    assert not short["long"].any() and mixed["long"].mean() == pytest.approx(0.2, abs=0.15)
    among = mixed.loc[~mixed["long"], "start_s"].sort_values()
    assert list(among) == pytest.approx(list(short["start_s"].sort_values()), abs=1e-5)
    assert (mixed["outcome"] == "right").all()
    record = read_json(folder / "dynamic_batching-translation.json")
    assert record["load"]["long_texts"] >= 2 and record["figures"]["p95_ratio"] > 0


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    def round_of(short: float | None, mixed: float) -> dict[str, object]:
        return {"short": {"short": {"p95_ms": short}}, "mixed": {"short": {"p95_ms": mixed}}}

    found = ratios([round_of(100, 150), round_of(100, 120), round_of(200, 400)])
    assert found == {"short_p95_ms": 100, "mixed_p95_ms": 150, "p95_ratio": 1.5}
    assert ratios([round_of(None, 3)])["p95_ratio"] is None


def test_a_servers_trace_shows_the_life_of_every_text_and_is_drawn(tmp_path: Path) -> None:
    manifest = read_json(EMBEDDED / "manifest.json")
    folder = tmp_path / FOLDER
    configuration = default_configuration("dynamic_batching", EMBEDDED, manifest)
    target = Target(configuration, "translation", folder, Cores.split())
    record_trace(target, "continuous", users=6, duration_s=2.0, seed=0)
    texts = read_trace(trace_path(folder, "continuous"), 2.0)
    assert len(texts) > 20
    assert (texts["admitted_s"] <= texts["started_s"]).all()
    assert (texts["started_s"] < texts["decoding_s"]).all()
    assert (texts["decoding_s"] <= texts["ended_s"]).all()
    assert (texts.groupby("started_s")["ended_s"].nunique() > 1).any()
    assert [path.name for path in draw_experiments(RunFiles(tmp_path))] == [
        "batch-timeline.png",
        "batch-timeline.svg",
    ]


def finished(*lengths: int) -> list[Sequence]:
    request = Request(deadline_s=9.0, admitted_s=1.0)
    return [Sequence([1] * length, request=request, scheduled_s=1.5, outcome="answer") for length in lengths]


def test_a_trace_has_a_line_a_join_and_a_text(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    trace = Trace(path)
    done = finished(4, 7)
    trace.write("translation", done[:1], Steps(joins=[(1.5, 1.6)]), 2.0)
    trace.write("translation", done[1:], Steps(), 3.0)
    (failed,) = finished(3)
    failed.outcome = ValueError()
    trace.write("sentiment", [failed], Batch([failed], 3, 1.5), 2.5)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == {"event": "join", "task": "translation", "started_s": 1.5, "decoding_s": 1.6}
    assert [(line["task"], line["tokens"], line["answered"]) for line in lines[1:]] == [
        ("translation", 4, True),
        ("translation", 7, True),
        ("sentiment", 3, False),
    ]
    texts = read_trace(path, 0.0)
    assert texts.to_dict("records") == [
        {"admitted_s": 0, "started_s": 0.5, "decoding_s": pytest.approx(0.6), "ended_s": end}
        for end in (1.0, 2.0)
    ]


def test_a_trace_that_cannot_go_on_ends_and_raises_nothing() -> None:
    trace = Trace(Path("/dev/full"))
    for _ in range(2):
        trace.write("translation", finished(4), Steps(), 2.0)
    assert trace._file is None
