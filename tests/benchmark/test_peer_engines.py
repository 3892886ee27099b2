"""Each engine that is installed answers the embedded models' texts as PyTorch float32 does."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import EMBEDDED
from typer.testing import CliRunner

from benchmark.runs.records import read_json
from optimized.web.cpus import allowed_cpus
from peers.engines import registry, runner
from peers.engines.__main__ import app
from peers.engines.dataset import Dataset
from peers.engines.registry import REQUIREMENTS, engine_spec
from peers.engines.workers import Paths, Workers
from peers.environments import is_installed, python_of

END = 0
CORE = allowed_cpus()[0]
INSTALLED = is_installed(REQUIREMENTS)
needs_requirements = pytest.mark.skipif(not INSTALLED, reason="`make peers` installs CTranslate2 and others")
LENGTHS = [3, 9, 4, 4, 7, 1, 12, 5, 5, 30]
FIXED = Dataset([[*range(10, 10 + length), END] for length in LENGTHS], LENGTHS, True, END)
SMALL = {
    "slots": 8,
    "prefill_batch": 2,
    "max_batch_tokens": 128,
    "batch_size": 8,
    "batch_type": "examples",
    "max_batch_size": 8,
}


def search_one_setting(monkeypatch: pytest.MonkeyPatch, task: str, name: str) -> None:
    """Leaves one candidate to search, so that a test is short."""
    spec = engine_spec(task, name)

    def candidates(cores: int, fixed_length: bool) -> list[registry.Settings]:
        first = spec.candidates(cores, fixed_length)[0]
        return [first | {key: value for key, value in SMALL.items() if key in first}]

    monkeypatch.setitem(registry.ENGINES[task], name, replace(spec, candidates=candidates))


@pytest.mark.parametrize("task", ["translation", "sentiment"])
def test_every_engine_answers_as_pytorch_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, task: str
) -> None:
    specs = {**registry.ENGINES[task]}
    names = [name for name, spec in specs.items() if INSTALLED or not spec.needs_requirements]
    for name in names:
        search_one_setting(monkeypatch, task, name)
    options = ["--tasks", task, "--engines", ",".join(names), "--lengths", "mixed"]
    places = ["--models", str(EMBEDDED), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*places, *options, "--texts", "24", "--rounds", "2"])
    output = " ".join(ended.output.split())
    assert ended.exit_code == 0, output
    assert "ours, INT8" in output and "round 2 of 2" in output
    record = read_json(tmp_path / "run" / "engines.json")
    assert record["environment"]["machine"]["cpu"] and list(record["tasks"]) == [task]
    assert record["tasks"][task]["model"]["task"] == task
    workload = record["tasks"][task]["workloads"]["mixed"]
    assert workload["texts"] == 24 and workload["fixed_length"] == (task == "sentiment")
    assert list(workload["engines"]) == names and set(workload["ratios"]) == {*names} - {"ours"}
    for name, engine in workload["engines"].items():
        assert len(engine["rounds"]) == 2 and engine["wrong_lengths"] == 0, name
        # Marian cannot start from the embedded model's learned start.
        assert engine["identical_to_float32"] >= (0.5 if name == "marian" else 0.9), name
        tokens = {one["tokens"] for one in engine["rounds"]}
        assert tokens == {24} if task == "sentiment" else len(tokens) == 1


@needs_requirements
@pytest.mark.parametrize("calls", ["own_limits", "by_limit"])
def test_ctranslate2_ends_each_text_at_its_own_fixed_length(tmp_path: Path, calls: str) -> None:
    paths = Paths("translation", EMBEDDED.resolve(), tmp_path, "", tmp_path, python_of(REQUIREMENTS))
    settings = registry.ctranslate2_candidates(1, True)[0] | {"calls": calls}
    runner.convert_weights("ctranslate2", (CORE,), paths)
    with closing(Workers("ctranslate2", settings, (CORE,), paths)) as workers:
        assert [len(answer) for answer in workers.answers(FIXED, settings)] == LENGTHS
        assert workers.measure(FIXED, settings)["tokens"] == sum(LENGTHS)
