"""The comparison gives every engine the same texts in turn, and counts what each text asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import EMBEDDED
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.measure.processes import ProcessFailed
from benchmark.runs.records import read_json, write_json
from dynamic_batching.decoder import Finished, StepResult
from dynamic_batching.sequence import Sequence
from optimized.web.cpus import allowed_cpus
from peers.engines import contest, engines
from peers.engines.__main__ import app
from peers.engines.contest import Contest, ratios, same_share
from peers.engines.ours_peer import drain
from peers.engines.table import table
from peers.engines.team import Place, Team
from peers.engines.work import Work, choose

END = 0
CORE = allowed_cpus()[0]
INSTALLED = (engines.PEER_PACKAGES / "ctranslate2").is_dir()
WORK = Work([[5, END], [6, 7, 8, END], [9, END], [4, 4, END]], [2, 4, 2, 3], True, END)
SETTINGS = {
    "ours": {"slots": 8, "join": 2, "order": "length"},
    "ctranslate2": {"inter_threads": 1, "intra_threads": 1, "calls": "all"}
    | {"batch_type": "examples", "max_batch_size": 8},
}

lists_of_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=60)


def work_of(lengths: list[int]) -> Work:
    return Work([[7] * length for length in lengths], lengths, True, END)


@given(lists_of_lengths)
def test_a_call_by_limit_holds_every_text_of_one_limit(lengths: list[int]) -> None:
    groups = work_of(lengths).by_limit()
    limits = [{lengths[place] for place in group} for group in groups]
    assert all(len(one) == 1 for one in limits)
    assert [max(one) for one in limits] == sorted(set(lengths), reverse=True)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))


@given(lists_of_lengths, st.integers(1, 16))
def test_batches_are_full_and_of_like_length(lengths: list[int], size: int) -> None:
    batches = work_of(lengths).batches(size)
    assert all(len(batch) == size for batch in batches[:-1]) and 0 < len(batches[-1]) <= size
    in_order = [lengths[place] for batch in batches for place in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(lists_of_lengths, st.integers(1, 4))
def test_processes_share_the_work_evenly_and_in_its_order(lengths: list[int], parts: int) -> None:
    work = Work([[place] * length for place, length in enumerate(lengths)], lengths, True, END)
    shares = work.deal(parts)
    dealt = [[source[0] for source in share.sources] for share in shares]
    assert sorted(place for share in dealt for place in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in dealt)
    tokens = [sum(share.limits) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_a_text_counts_what_it_asked_for_and_not_what_its_batch_went_on_with() -> None:
    assert WORK.cut(0, [3, 3, 3, 3]) == [3, 3]
    assert WORK.cut(1, [3, END, 3, 3, 3]) == [3, END, 3, 3]
    natural = replace(WORK, fixed_length=False)
    assert natural.cut(1, [3, END, 3, 3]) == [3, END]
    assert natural.cut(3, [3, 3, 3, END]) == [3, 3, 3]


def test_answers_of_another_length_than_asked_are_counted() -> None:
    right = [[3, 3], [3, 3, 3, END], [3, 3], [3, 3, 3]]
    short = [*right[:3], [3, END]]
    assert WORK.wrong_lengths(right) == 0
    assert WORK.wrong_lengths(short) == 1
    assert WORK.wrong_lengths([*right[:3], [3] * 4]) == 1
    natural = replace(WORK, fixed_length=False)
    assert natural.wrong_lengths(short) == 0
    assert natural.wrong_lengths([[], *right[1:3], [3, 3]]) == 2


def test_work_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Work.load(WORK.save(tmp_path / "work.json")) == WORK


def stream() -> Iterator[list[int]]:
    for place, length in enumerate(cycle([2, 3, 2, 5, 3])):
        yield [place] * length


def test_mixed_texts_are_the_first_and_equal_ones_fill_groups_of_one_length() -> None:
    assert [ids[0] for ids in choose(stream(), "mixed", 6, 4)] == [0, 1, 2, 3, 4, 5]
    equal = choose(stream(), "equal", 8, 4)
    assert [len(ids) for ids in equal] == [2] * 4 + [3] * 4
    assert [ids[0] for ids in equal] == [0, 2, 5, 7, 1, 4, 6, 9]


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
        failed = [(self.failing, RuntimeError("broken row"))] if self.failing in ended else []
        return StepResult([(sequence, [1] * sequence.max_new_tokens) for sequence in ended], failed)


@given(lists_of_lengths, st.integers(1, 8), st.integers(1, 8))
def test_our_queue_drains_whatever_the_slots(lengths: list[int], slots: int, join: int) -> None:
    decoder: Any = FakeDecoder(slots)
    sequences = [Sequence([1], length, length) for length in lengths]
    answers = drain(decoder, sequences, min(join, slots))
    assert {one: len(answer) for one, answer in answers.items()} == dict(zip(sequences, lengths, strict=True))
    assert decoder.rows == 0
    assert all(size >= min(join, slots) for size in decoder.joins[:-1])


def test_a_failed_row_is_an_error_and_no_speed() -> None:
    sequences = [Sequence([1], 2, 2), Sequence([1], 3, 3)]
    decoder: Any = FakeDecoder(4, failing=sequences[1])
    with pytest.raises(RuntimeError, match="broken row"):
        drain(decoder, sequences, 1)


def speeds(*values: float) -> list[dict[str, Any]]:
    return [{"tokens_per_s": value} for value in values]


def test_a_ratio_is_of_the_same_round() -> None:
    found = ratios(
        {"ours": speeds(20, 30, 40), "ctranslate2": speeds(10, 20, 10), "optimum": speeds(5, 5, 5)}
    )
    assert found["ctranslate2"] == {"median": 2.0, "min": 1.5, "max": 4.0}
    assert found["optimum"] == {"median": 6.0, "min": 4.0, "max": 8.0}
    assert ratios({"ctranslate2": speeds(1)}) == {}


def test_likeness_is_the_share_of_equal_answers() -> None:
    assert same_share([[1, 2], [3], [4], [5]], [[1, 2], [3, 0], [4], [6]]) == 0.5
    assert same_share([[1]], None) is None


@dataclass
class FakeTeam:
    """An engine whose speed depends on its settings; it notes every turn that the contest gives it."""

    name: str
    settings: dict[str, Any]
    cores: tuple[int, ...]
    work: Work
    sample: Work
    place: Place
    version: str = "fake 1"
    turns: ClassVar[list[str]] = []
    stopped: ClassVar[list[str]] = []

    def __enter__(self) -> "FakeTeam":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def sample_answers(self) -> list[list[int]]:
        return self.sample.sources

    def turn(self) -> dict[str, Any]:
        self.turns.append(self.name)
        return {"tokens_per_s": float(self.settings["speed"]), "wrong_lengths": 0}

    def stop(self) -> None:
        self.stopped.append(self.name)


def fake_engine(name: str, *candidates: float) -> engines.Engine:
    return engines.Engine(name, False, lambda cores, fixed_length: [{"speed": speed} for speed in candidates])


def test_each_engine_runs_at_its_best_settings_and_turns_alternate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contest, "Team", FakeTeam)
    monkeypatch.setattr(FakeTeam, "turns", [])
    monkeypatch.setattr(FakeTeam, "stopped", [])
    for name, best in {"a": 20, "b": 40, "c": 60}.items():
        monkeypatch.setitem(engines.ENGINES, name, fake_engine(name, best / 2, best, 5))
    place = Place(tmp_path, tmp_path, "", tmp_path, tmp_path)
    said: list[str] = []
    found = Contest(tmp_path, ("a", "b", "c"), (0,), ("mixed",), 4, 3).measure(
        "mixed", WORK, place, said.append
    )
    assert "".join(FakeTeam.turns[-9:]) == "abcbcacab"
    assert {name: engine["settings"]["speed"] for name, engine in found["engines"].items()} == {
        "a": 20,
        "b": 40,
        "c": 60,
    }
    assert len(found["engines"]["a"]["searched"]) == 3 and "".join(FakeTeam.stopped[-3:]) == "abc"
    assert said[-1].startswith("mixed, round 3 of 3: a 20 tokens/s")


@pytest.mark.parametrize("cores", [1, 2, 3, 4])
@pytest.mark.parametrize("fixed_length", [True, False])
def test_the_search_gives_ctranslate2_all_cores(cores: int, fixed_length: bool) -> None:
    candidates = engines.ctranslate2_settings(cores, fixed_length)
    assert {one["inter_threads"] * one["intra_threads"] for one in candidates} == {cores}
    assert {one["calls"] for one in candidates} == ({"own_limits", "by_limit"} if fixed_length else {"all"})
    assert len({str(one) for one in candidates}) == len(candidates)


def narrow(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Leaves one candidate to search, so that a test is short."""
    only = replace(engines.ENGINES[name], settings=lambda cores, fixed_length: [SETTINGS[name]])
    monkeypatch.setitem(engines.ENGINES, name, only)


def command(tmp_path: Path, *options: str, models: Path = EMBEDDED) -> tuple[int, str]:
    arguments = ["--models", str(models), "--results", str(tmp_path), "--name", "run"]
    ended = CliRunner().invoke(app, [*arguments, *options])
    return ended.exit_code, " ".join(ended.output.split())


def test_a_comparison_is_written_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ["ours"]
    if INSTALLED:
        names.append("ctranslate2")
    for name in names:
        narrow(monkeypatch, name)
    options = ("--engines", ",".join(names), "--lengths", "mixed", "--texts", "24", "--rounds", "2")
    code, output = command(tmp_path, *options)
    assert code == 0, output
    assert "ours, INT8" in output and "round 2 of 2" in output
    record = read_json(tmp_path / "run" / "peers.json")
    found = record["workloads"]["mixed"]
    assert found["texts"] == 24 and not found["fixed_length"]
    assert record["model"]["task"] == "translation" and record["environment"]["machine"]["cpu"]
    assert set(found["engines"]) == set(names) and set(found["ratios"]) == set(names) - {"ours"}
    for name in names:
        engine = found["engines"][name]
        assert engine["settings"] == SETTINGS[name] and len(engine["rounds"]) == 2
        assert engine["identical_to_float32"] >= 0.9 and engine["wrong_lengths"] == 0
        assert len({one["tokens"] for one in engine["rounds"]}) == 1


@pytest.mark.skipif(not INSTALLED, reason="CTranslate2 is not installed; `make peers` installs it")
@pytest.mark.parametrize("calls", ["own_limits", "by_limit"])
def test_ctranslate2_ends_each_text_at_its_own_fixed_length(tmp_path: Path, calls: str) -> None:
    lengths = [3, 9, 4, 4, 7, 1, 12, 5, 5, 30]
    work = Work([[*range(10, 10 + length), END] for length in lengths], lengths, True, END)
    place = Place(EMBEDDED.resolve(), tmp_path, "", tmp_path, tmp_path)
    contest.convert("ctranslate2", (CORE,), place, print)
    with Team("ctranslate2", SETTINGS["ctranslate2"] | {"calls": calls}, (CORE,), work, work, place) as team:
        assert [len(answer) for answer in team.sample_answers] == lengths
        assert team.turn()["tokens"] == sum(lengths)


def test_the_table_has_both_sides() -> None:
    engine: dict[str, Any] = {
        "title": "CTranslate2 INT8",
        "tokens_per_s": 1000.0,
        "rounds": speeds(900, 1100),
        "identical_to_float32": None,
        "wrong_lengths": 0,
        "settings": {"max_batch_size": 64},
    }
    found = {
        "texts": 4,
        "source_tokens_min": 2,
        "source_tokens_max": 4,
        "engines": {"ours": engine | {"title": "ours, INT8", "tokens_per_s": 2500.0}, "ctranslate2": engine},
        "ratios": {"ctranslate2": {"median": 2.5, "min": 2.0, "max": 3.0}},
    }
    shown = table("mixed", found)
    cells = [list(column.cells) for column in shown.columns]
    assert cells[0] == ["ours, INT8", "CTranslate2 INT8"]
    assert cells[1] == ["2,500", "1,000"] and cells[3] == ["", "2.50"] and cells[4] == ["", "2.00 to 3.00"]


def test_missing_models_and_peers_are_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, output = command(tmp_path, models=tmp_path / "nowhere")
    assert code != 0 and "optimize_model.py" in output and "Traceback" not in output
    monkeypatch.setattr(engines, "PEER_PACKAGES", tmp_path / "none")
    code, output = command(tmp_path)
    assert code != 0 and "`make peers` installs it" in output and "Traceback" not in output
    code, output = command(tmp_path, "--engines", "chess")
    assert code != 0 and "'chess': Input should be" in output


def test_models_without_a_translator_are_one_clear_line(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", read_json(EMBEDDED / "manifest.json") | {"artefacts": {}})
    code, output = command(tmp_path, "--engines", "ours", models=tmp_path)
    assert code != 0 and "does not list translation/onnx" in output and "Traceback" not in output


def test_other_weights_are_converted_anew(tmp_path: Path) -> None:
    folders = {
        Place(tmp_path, tmp_path, weights, tmp_path, tmp_path).converted(name)
        for weights in ("one", "other")
        for name in ("ctranslate2", "optimum")
    }
    assert len(folders) == 4


def test_an_engine_that_cannot_start_is_named(tmp_path: Path) -> None:
    place = Place(EMBEDDED.resolve(), tmp_path, "", tmp_path, tmp_path)
    with pytest.raises(ProcessFailed, match=r"ours ended early.*slots"):
        Team("ours", {}, (CORE,), WORK, WORK, place)
