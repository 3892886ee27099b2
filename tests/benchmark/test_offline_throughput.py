"""Offline throughput is measured on full batches, and written where a report reads it."""

import itertools
from pathlib import Path

import pytest
from conftest import EMBEDDED
from typer.testing import CliRunner

from benchmark.__main__ import app
from benchmark.experiments.offline_throughput import measure
from benchmark.runs.records import read_json
from dynamic_batching.web.cpus import allowed_cpus


def ids(length: int) -> list[int]:
    return [1] * length


def test_every_batch_is_full_and_counted() -> None:
    batches: list[list[list[int]]] = []

    def infer(batch: list[list[int]]) -> int:
        batches.append(batch)
        return 2 * len(batch)

    found = measure(
        lambda text: ids(len(text)),
        infer,
        itertools.cycle(["a", "bb", "ccc"]),
        batch_size=4,
        seconds=0.01,
    )
    _, *measured = batches
    assert {len(batch) for batch in batches} == {4}
    assert found["texts"] == 4 * len(measured)
    seconds = found["texts"] / found["texts_per_s"]
    assert found["target_tokens_per_s"] * seconds == pytest.approx(2 * found["texts"])
    tokens = sum(len(one) for batch in measured for one in batch)
    assert found["source_tokens_per_s"] * seconds == pytest.approx(tokens)


def command(tmp_path: Path, *options: str, models: Path = EMBEDDED) -> tuple[int, str]:
    arguments = ["offline-throughput", "--models", str(models), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*arguments, *options])
    return ended.exit_code, " ".join(ended.output.split())


@pytest.mark.parametrize("task", ["sentiment", "translation"])
def test_the_record_has_the_best_batch_size(tmp_path: Path, task: str) -> None:
    code, output = command(tmp_path, "--tasks", task, "--seconds", "0.05", "--batch-sizes", "1,4")
    assert code == 0 and "best" in output
    record = read_json(tmp_path / "run" / "offline_throughput.json")
    found = record["tasks"][task]
    assert [one["batch_size"] for one in found["batch_sizes"]] == [1, 4]
    assert found["best"]["texts_per_s"] == max(one["texts_per_s"] for one in found["batch_sizes"])
    assert all((one["target_tokens_per_s"] is None) == (task == "sentiment") for one in found["batch_sizes"])
    cores = len(allowed_cpus())
    if cores > 1:
        scaling = found["scaling"]
        assert scaling["cores"] == cores
        assert scaling["ratio_low"] <= scaling["ratio"] <= scaling["ratio_high"]
        assert all(rate > 0 for turn in scaling["rounds_texts_per_s"] for rate in turn)
    assert found["model"]["task"] == task and record["environment"]["machine"]["cpu"]
