"""Engines are compared in turns on the same texts, each with settings that a fair search chose.

test_peer_engines.py runs the engines themselves.
"""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count, cycle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from checkout import ROOT
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import read_json, write_json
from dynamic_batching.decoder import Finished, StepResult
from dynamic_batching.sequence import Sequence
from optimized.web.cpus import allowed_cpus
from peers.engines import __main__ as engines_command
from peers.engines import registry, runner
from peers.engines.__main__ import app
from peers.engines.classification import Inputs, classify, padded
from peers.engines.dataset import Dataset, Timer, select_sources
from peers.engines.ours_translation import decode
from peers.engines.registry import EngineSpec, Settings
from peers.engines.runner import Runner, match_rate, speed_ups
from peers.engines.table import workload_table
from peers.engines.workers import Paths, Workers
from peers.environments import environment_name
from peers.halving import Pass, successive_halving

END = 0
CORE = allowed_cpus()[0]
PYTHON = Path(sys.executable)
DATASET = Dataset([[5, END], [6, 7, 8, END], [9, END], [4, 4, END]], [2, 4, 2, 3], True, END)


def paths_of(task: str, folder: Path, weights: str = "") -> Paths:
    return Paths(task, folder / "no-models", folder, weights, folder, PYTHON)


lists_of_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=60)


def dataset_of(lengths: list[int]) -> Dataset:
    """Texts whose tokens are their own index."""
    return Dataset([[index] * length for index, length in enumerate(lengths)], lengths, True, END)


@given(lists_of_lengths)
def test_a_batch_by_maximum_length_holds_every_text_of_that_length(lengths: list[int]) -> None:
    batches = dataset_of(lengths).by_max_new_tokens()
    assert [[lengths[index] for index in batch] for batch in batches] == [
        [length] * lengths.count(length) for length in sorted(set(lengths), reverse=True)
    ]
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(lists_of_lengths, st.integers(1, 16))
def test_batches_are_full_and_of_like_length(lengths: list[int], size: int) -> None:
    batches = dataset_of(lengths).batches(size)
    assert all(len(batch) == size for batch in batches[:-1]) and 0 < len(batches[-1]) <= size
    assert [lengths[index] for batch in batches for index in batch] == sorted(lengths, reverse=True)


@given(lists_of_lengths, st.integers(1, 40))
def test_batches_of_tokens_are_as_full_as_their_next_text_allows(lengths: list[int], most: int) -> None:
    batches = dataset_of(lengths).batches_of_tokens(most)
    assert [lengths[index] for batch in batches for index in batch] == sorted(lengths, reverse=True)
    tokens = [sum(lengths[index] for index in batch) for batch in batches]
    assert all(total <= most or len(batch) == 1 for batch, total in zip(batches, tokens, strict=True))
    following = [lengths[batch[0]] for batch in batches[1:]]
    assert all(total + first > most for total, first in zip(tokens, following, strict=False))


@given(lists_of_lengths, st.integers(1, 16))
def test_answers_are_in_the_order_of_their_texts(lengths: list[int], size: int) -> None:
    dataset = dataset_of(lengths)
    for batches in (dataset.batches(size), dataset.by_max_new_tokens()):
        outputs = [[[index] * 20 for index in batch] for batch in batches]
        assert dataset.answers(batches, outputs) == dataset.sources


@given(lists_of_lengths, st.integers(1, 4))
def test_processes_share_the_texts_evenly_and_in_their_order(lengths: list[int], parts: int) -> None:
    shares = dataset_of(lengths).split(parts)
    indices = [[source[0] for source in share.sources] for share in shares]
    assert sorted(index for share in indices for index in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in indices)
    tokens = [sum(share.max_new_tokens) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_tokens_past_a_text_s_own_end_are_not_counted() -> None:
    assert DATASET.trim(0, [3, 3, 3, 3]) == [3, 3]
    assert DATASET.trim(1, [3, END, 3, 3, 3]) == [3, END, 3, 3]
    natural = replace(DATASET, fixed_length=False)
    assert natural.trim(1, [3, END, 3, 3]) == [3, END]
    assert natural.trim(3, [3, 3, 3, END]) == [3, 3, 3]


def test_answers_of_a_wrong_length_are_counted() -> None:
    right = [[3, 3], [3, 3, 3, END], [3, 3], [3, 3, 3]]
    short = [*right[:3], [3, END]]
    assert DATASET.wrong_lengths(right) == 0
    assert DATASET.wrong_lengths(short) == 1
    assert DATASET.wrong_lengths([*right[:3], [3] * 4]) == 1
    natural = replace(DATASET, fixed_length=False)
    assert natural.wrong_lengths(short) == 0
    assert natural.wrong_lengths([[], *right[1:3], [3, 3]]) == 2


def stream() -> Iterator[list[int]]:
    for index, length in enumerate(cycle([2, 3, 2, 5, 3])):
        yield [index] * length


def test_mixed_texts_are_the_first_and_equal_ones_fill_groups_of_one_length() -> None:
    assert [ids[0] for ids in select_sources(stream(), "mixed", 6, 4)] == [0, 1, 2, 3, 4, 5]
    equal = select_sources(stream(), "equal", 8, 4)
    assert [len(ids) for ids in equal] == [2] * 4 + [3] * 4
    assert [ids[0] for ids in equal] == [0, 2, 5, 7, 1, 4, 6, 9]


@given(lists_of_lengths, st.integers(1, 16))
def test_a_sentiment_is_an_answer_of_one_token_in_the_order_of_the_texts(
    lengths: list[int], size: int
) -> None:
    dataset = replace(dataset_of(lengths), max_new_tokens=[1] * len(lengths))

    def logits_of(inputs: Inputs) -> np.ndarray:
        """Of every text, class 1 if its own length, without padding, is even."""
        even = inputs["attention_mask"].sum(axis=1) % 2 == 0
        return np.stack([~even, even], axis=1).astype(np.float32)

    answers = classify(dataset, size, logits_of, Timer())
    assert answers == [[1 - length % 2] for length in lengths] and dataset.wrong_lengths(answers) == 0


def test_a_batch_is_padded_with_zeros() -> None:
    inputs = padded([[5, 6, 7], [8]])
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert not inputs["token_type_ids"].any()


@dataclass
class FakeDecoder:
    """Slots whose sequences finish after as many steps as their limit."""

    max_batch_size: int
    left: dict[Sequence, int] = field(default_factory=dict)
    joins: list[int] = field(default_factory=list)
    failing: Sequence | None = None

    @property
    def rows(self) -> int:
        return len(self.left)

    @property
    def free_slots(self) -> int:
        return self.max_batch_size - self.rows

    def join(self, sequences: list[Sequence]) -> Finished:
        assert len(sequences) <= self.free_slots
        self.joins.append(len(sequences))
        self.left.update({sequence: sequence.max_new_tokens for sequence in sequences})
        return []

    def step(self) -> StepResult:
        self.left = {sequence: left - 1 for sequence, left in self.left.items()}
        ended = [sequence for sequence, left in self.left.items() if left == 0]
        for sequence in ended:
            del self.left[sequence]
        failed = [(self.failing, RuntimeError("broken sequence"))] if self.failing in ended else []
        return StepResult([(sequence, [1] * sequence.max_new_tokens) for sequence in ended], failed)


@given(lists_of_lengths, st.integers(1, 8), st.integers(1, 8))
def test_every_queued_sequence_is_decoded(lengths: list[int], slots: int, batch: int) -> None:
    decoder: Any = FakeDecoder(slots)
    sequences = [Sequence([1], length, length) for length in lengths]
    answers = decode(decoder, sequences, min(batch, slots))
    assert {one: len(answer) for one, answer in answers.items()} == dict(zip(sequences, lengths, strict=True))
    assert decoder.rows == 0
    assert all(size >= min(batch, slots) for size in decoder.joins[:-1])


def test_a_failed_sequence_is_an_error() -> None:
    sequences = [Sequence([1], 2, 2), Sequence([1], 3, 3)]
    decoder: Any = FakeDecoder(4, failing=sequences[1])
    with pytest.raises(RuntimeError, match="broken sequence"):
        decode(decoder, sequences, 1)


def speeds(*values: float) -> list[dict[str, Any]]:
    return [{"tokens_per_s": value} for value in values]


def test_a_speed_up_is_within_a_round() -> None:
    found = speed_ups(
        {"ours": speeds(20, 30, 40), "ctranslate2": speeds(10, 20, 10), "optimum": speeds(5, 5, 5)}
    )
    assert found["ctranslate2"] == {"median": 2.0, "min": 1.5, "max": 4.0}
    assert found["optimum"] == {"median": 6.0, "min": 4.0, "max": 8.0}
    assert speed_ups({"ctranslate2": speeds(1)}) == {}


def test_the_match_rate_is_the_share_of_equal_answers() -> None:
    assert match_rate([[1, 2], [3], [4], [5]], [[1, 2], [3, 0], [4], [6]]) == 0.5


@given(
    others=st.lists(st.floats(90, 98), max_size=16),
    position=st.integers(0, 16),
    start=st.integers(0, 60),
    duration=st.integers(1, 100),
)
def test_the_search_picks_the_fastest_while_the_machine_slows_down_to_half(
    others: list[float], position: int, start: int, duration: int
) -> None:
    speeds = [*others[:position], 100.0, *others[position:]]
    passes_done = count()

    def measure(candidate: int) -> Pass:
        progress = (next(passes_done) - start) / duration
        return {"tokens_per_s": speeds[candidate] * 0.5 ** min(max(progress, 0.0), 1.0)}

    best, passes = successive_halving(len(speeds), measure, lambda line: None)
    assert speeds[best] == 100.0
    assert sum(map(len, passes)) == next(passes_done)


def test_candidates_take_turns_and_the_slower_half_drops_out() -> None:
    order: list[int] = []
    lines: list[str] = []

    def measure(candidate: int) -> Pass:
        order.append(candidate)
        return {"tokens_per_s": float(candidate + 1)}

    best, passes = successive_halving(5, measure, lines.append)
    assert best == 4
    assert order == [0, 1, 2, 3, 4] * 4 + [2, 3, 4] * 4 + [3, 4] * 4
    assert [len(one) for one in passes] == [4, 4, 8, 12, 12]
    assert lines[0] == "5 settings, round 1 of 4: 1 to 5 tokens/s" and len(lines) == 12
    assert successive_halving(1, measure, lines.append) == (0, [[]])


def test_the_search_can_go_by_another_figure() -> None:
    lines: list[str] = []
    measure = lambda candidate: {"tokens_per_s": 1.0, "requests_per_s": 9.0 - candidate}  # noqa: E731
    best, _ = successive_halving(3, measure, lines.append, figure="requests_per_s", unit="requests/s")
    assert best == 0 and lines[0] == "3 settings, round 1 of 4: 7 to 9 requests/s"


@dataclass(eq=False)
class FakeWorkers:
    """An engine whose speed depends on its settings."""

    name: str
    settings: Settings
    cores: tuple[int, ...]
    paths: Paths
    version: str = "fake 1"
    instances: ClassVar[list["FakeWorkers"]] = []
    measured: ClassVar[list[str]] = []
    closed: int = 0

    def __post_init__(self) -> None:
        self.instances.append(self)

    def answers(self, dataset: Dataset, settings: Settings) -> list[list[int]]:
        return dataset.sources

    def measure(self, dataset: Dataset, settings: Settings) -> Pass:
        assert not self.closed and self.settings == {"process": settings["process"]}
        self.measured.append(self.name)
        return {"tokens_per_s": float(settings["speed"]), "wrong_lengths": 0}

    def close(self) -> None:
        self.closed += 1


def fake_engine(*speeds: int) -> EngineSpec:
    """Candidates that share two processes."""
    candidates = [{"speed": speed, "process": index % 2} for index, speed in enumerate(speeds)]
    return EngineSpec("fake", lambda cores, fixed_length: candidates, process_settings=("process",))


def test_each_engine_runs_with_its_fastest_settings_and_all_take_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "Workers", FakeWorkers)
    monkeypatch.setattr(FakeWorkers, "measured", [])
    monkeypatch.setattr(FakeWorkers, "instances", [])
    for name, best in {"a": 20, "b": 40, "c": 60}.items():
        monkeypatch.setitem(registry.ENGINES["sentiment"], name, fake_engine(best // 2, best, 5))
    lines: list[str] = []
    names = ("a", "ctranslate2", "b", "c")  # one of them translates only
    measured = Runner(("sentiment",), names, (0,), ("mixed",), 4, 3, lines.append)
    record = measured.measure("mixed", DATASET, paths_of("sentiment", tmp_path), trained=False)
    assert "".join(FakeWorkers.measured) == "a" * 20 + "b" * 20 + "c" * 20 + "abcbcacab"
    engines = record["engines"]
    assert {name: one["settings"]["speed"] for name, one in engines.items()} == {"a": 20, "b": 40, "c": 60}
    searched = engines["a"]["searched"]
    assert [len(one["rounds"]) for one in searched] == [8, 8, 4] and searched[2]["settings"]["speed"] == 5
    assert len(FakeWorkers.instances) == 6 and all(one.closed for one in FakeWorkers.instances)
    assert "sentiment, a, best of 3 settings: speed 20, process 1" in lines
    assert lines[-1] == "sentiment, mixed, round 3 of 3, texts/s: a 20, b 40, c 60"


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
@pytest.mark.parametrize("fixed_length", [True, False])
def test_the_search_gives_ctranslate2_all_cores(cores: int, fixed_length: bool) -> None:
    candidates = registry.ctranslate2_candidates(cores, fixed_length)
    assert {one["inter_threads"] * one["intra_threads"] for one in candidates} == {cores}
    assert {one["calls"] for one in candidates} == ({"own_limits", "by_limit"} if fixed_length else {"all"})
    assert len({str(one) for one in candidates}) == len(candidates)


def command(tmp_path: Path, *options: str, models: Path = EMBEDDED) -> tuple[int, str]:
    arguments = ["--models", str(models), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*arguments, *options])
    return ended.exit_code, " ".join(ended.output.split())


def test_the_table_has_both_sides() -> None:
    engine: dict[str, Any] = {
        "title": "CTranslate2 INT8",
        "tokens_per_s": 1000.0,
        "rounds": speeds(900, 1100),
        "identical_to_float32": None,
        "wrong_lengths": 0,
        "settings": {"max_batch_size": 64},
    }
    workload = {
        "texts": 4,
        "source_tokens_min": 2,
        "source_tokens_max": 4,
        "engines": {"ours": engine | {"title": "ours, INT8", "tokens_per_s": 2500.0}, "ctranslate2": engine},
        "ratios": {"ctranslate2": {"median": 2.5, "min": 2.0, "max": 3.0}},
    }
    table = workload_table("translation", "mixed", workload)
    assert table.columns[1].header == "tokens/s"
    assert workload_table("sentiment", "mixed", workload).columns[1].header == "texts/s"
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["ours, INT8", "CTranslate2 INT8"]
    assert cells[1] == ["2,500", "1,000"] and cells[3] == ["", "2.50"] and cells[4] == ["", "2.00 to 3.00"]


def test_missing_models_and_unknown_engines_are_one_clear_line(tmp_path: Path) -> None:
    code, output = command(tmp_path, models=tmp_path / "nowhere")
    assert code != 0 and "optimize_model.py" in output and "Traceback" not in output
    code, output = command(tmp_path, "--tasks", "sentiment", "--engines", "ctranslate2")
    assert code != 0 and "none of them does one of --tasks" in output
    code, output = command(tmp_path, "--engines", "chess")
    assert code != 0 and "'chess': Input should be" in output


def test_models_without_a_translator_are_one_clear_line(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", read_json(EMBEDDED / "manifest.json") | {"artefacts": {}})
    code, output = command(tmp_path, "--engines", "ours", models=tmp_path)
    assert code != 0 and "does not list translation/onnx" in output and "Traceback" not in output


def test_other_weights_are_converted_again(tmp_path: Path) -> None:
    folders = {
        paths_of(task, tmp_path, weights).converted(name)
        for weights in ("one", "other")
        for task in ("translation", "sentiment")
        for name in ("ctranslate2", "optimum")
    }
    assert len(folders) == 8


def test_an_engine_that_cannot_start_is_named(tmp_path: Path) -> None:
    with (
        closing(Workers("ours", {}, (CORE,), paths_of("translation", tmp_path))) as workers,
        pytest.raises(ProcessFailed, match=r"ours ended early.*slots.*holds no models"),
    ):
        workers.measure(DATASET, {"slots": 8})


@pytest.mark.parametrize(
    ("folder", "name"),
    [("peers/engines", "engines"), ("peers/servers/mosec", "servers-mosec"), ("deploy", "deploy")],
)
def test_an_environment_is_named_after_its_folder(folder: str, name: str) -> None:
    requirements = ROOT / folder / "requirements.txt"
    assert requirements.is_file() and environment_name(requirements) == name


def test_the_environment_is_installed_where_an_engine_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(engines_command, "print_line", lines.append)
    monkeypatch.setattr(engines_command, "install", lambda requirements: Path("own/python"))
    monkeypatch.setattr(engines_command, "is_installed", lambda requirements: False)
    assert engines_command.python_for(("translation",), ("ours", "openvino")) == PYTHON and not lines
    assert engines_command.python_for(("translation", "sentiment"), ("openvino",)) == Path("own/python")
    assert lines == ["installing peers/engines/requirements.txt into .venv-peers (once)"]
