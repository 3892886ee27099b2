"""Measures the engines against each other: each is converted once, tuned on these cores, then all alternate.

Rounds go A B C, B C A, C A B, so that a drift of the machine's speed falls on all; a ratio is of one round.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import write_json
from dynamic_batching.runtime.tokenization import MarianTokenizer
from dynamic_batching.web.model_files import ModelFiles, ModelFilesError, find_model_files
from locustfiles.inputs import unique
from peers.engines.engines import ENGINES, OURS, REFERENCE, Engine, Settings, engine_of
from peers.engines.team import Place, Team
from peers.engines.work import Work, choose

# Every batch that the search tries fits an even number of times.
GROUP = 128
SAMPLE_TEXTS = 64
SEARCH_SHARE = 2
SEARCH_PASSES = 2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Contest:
    """What is measured. `lengths` are of `peers.engines.work.LENGTHS`; `texts` is how many a core has."""

    models: Path
    names: tuple[str, ...]
    cores: tuple[int, ...]
    lengths: tuple[str, ...]
    texts: int
    rounds: int

    def run(self, folder: Path, cache: Path, say: Say) -> tuple[Path, dict[str, Any]]:
        """Writes <folder>/peers.json; that path, and what it holds.

        Raises:
            ProcessFailed: there is no translation model, or an engine ended early.
        """
        try:
            files = find_model_files(self.models, "translation/onnx")
            weights = find_model_files(self.models, "translation/pytorch").facts["files"]["model.safetensors"]
        except (ModelFilesError, KeyError) as error:
            raise ProcessFailed(error) from None
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            models, logs = self.models.resolve(), folder / "logs"
            place = Place(models, cache.resolve(), weights["sha256"], Path(scratch), logs)
            for name in self.names:
                if ENGINES[name].prepared:
                    convert(name, self.cores, place, say)
            workloads = {
                lengths: self.measure(lengths, self.work(files, lengths), place, say)
                for lengths in self.lengths
            }
        record = {
            "environment": environment_record(Cores(self.cores, ()), {}),
            "model": {key: value for key, value in files.facts.items() if key != "files"},
            "workloads": workloads,
        }
        path = folder / "peers.json"
        write_json(path, record)
        return path, record

    def work(self, files: ModelFiles, lengths: str) -> Work:
        """The texts of a workload and their limits, as the servers set them."""
        tokenizer = MarianTokenizer(files.folder)
        limits = files.facts["generation"]
        per_token, extra = limits["tokens_per_source_token"], limits["extra_tokens"]
        stream = (tokenizer.encode(sample.text) for sample in unique("translation"))
        sources = choose(stream, lengths, self.texts * len(self.cores), GROUP * len(self.cores))
        most = [min(per_token * len(source) + extra, limits["max_tokens"]) for source in sources]
        return Work(sources, most, limits["fixed_length"], tokenizer.encode("")[-1])

    def measure(self, lengths: str, work: Work, place: Place, say: Say) -> dict[str, Any]:
        """Every engine's settings, rounds and likeness on one workload."""
        sample = work.part(islice(range(len(work.sources)), SAMPLE_TEXTS))
        searched = {name: self.search(name, work, sample, place, say) for name in self.names}
        teams: dict[str, Team] = {}
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in self.names}
        try:
            for name in self.names:
                settings = max(searched[name], key=lambda one: one["tokens_per_s"])["settings"]
                teams[name] = Team(name, settings, self.cores, work, sample, place)
            for turn in range(self.rounds):
                shift = turn % len(self.names)
                for name in self.names[shift:] + self.names[:shift]:
                    rounds[name].append(teams[name].turn())
                say(f"{lengths}, round {turn + 1} of {self.rounds}: {rates(rounds)}")
        finally:
            for team in teams.values():
                team.stop()
        reference = None
        if not work.fixed_length:
            with Team(REFERENCE, {}, self.cores[:1], sample, sample, place) as team:
                reference = team.sample_answers
        return {
            **work.facts(),
            "sample_texts": len(sample.sources),
            "engines": {
                name: {
                    "title": engine_of(name).title,
                    "version": teams[name].version,
                    "settings": teams[name].settings,
                    "tokens_per_s": median(one["tokens_per_s"] for one in rounds[name]),
                    "identical_to_float32": same_share(teams[name].sample_answers, reference),
                    "wrong_lengths": sum(one["wrong_lengths"] for one in rounds[name]),
                    "rounds": rounds[name],
                    "searched": searched[name],
                }
                for name in self.names
            },
            "ratios": ratios(rounds),
        }

    def search(self, name: str, work: Work, sample: Work, place: Place, say: Say) -> list[dict[str, Any]]:
        """The speed of each of an engine's settings on a part of the work: the better of its passes."""
        part = work.part(range(max(len(work.sources) // SEARCH_SHARE, 1)))
        candidates = engine_of(name).settings(len(self.cores), work.fixed_length)
        found = []
        for turn, settings in enumerate(candidates):
            speed = self.attempt(name, settings, part, sample, place)
            found.append({"settings": settings, "tokens_per_s": speed})
            say(f"{name}, settings {turn + 1} of {len(candidates)}: {speed:,.0f} tokens/s {plain(settings)}")
        return found

    def attempt(self, name: str, settings: Settings, work: Work, sample: Work, place: Place) -> float:
        with Team(name, settings, self.cores, work, sample, place) as team:
            return max(team.turn()["tokens_per_s"] for _ in range(SEARCH_PASSES))


def convert(name: str, cores: tuple[int, ...], place: Place, say: Say) -> None:
    """Makes an engine's own copy of the weights, unless an earlier run has."""
    if place.converted(name).is_dir():
        return
    say(f"converting the weights for {name} (once)")
    engine: Engine = engine_of(name)
    log = place.logs / f"peers-{name}-convert.log"
    child = Child(place.command(name, "--convert"), cores, log, engine.environment({}))
    try:
        code = child.process.wait()
    finally:
        child.stop()
    if code:
        raise ProcessFailed(f"the weights were not converted for {name}: {child.last_line()}")


def ratios(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Our tokens a second over each peer's, round by round: the median, the least and the most."""
    found = {}
    for name, theirs in rounds.items():
        if name == OURS or OURS not in rounds:
            continue
        each = [
            mine["tokens_per_s"] / other["tokens_per_s"]
            for mine, other in zip(rounds[OURS], theirs, strict=True)
        ]
        found[name] = {"median": median(each), "min": min(each), "max": max(each)}
    return found


def same_share(answers: list[list[int]], reference: list[list[int]] | None) -> float | None:
    """The share of answers with the reference's tokens; None where there is no reference."""
    if reference is None:
        return None
    same = [mine == other for mine, other in zip(answers, reference, strict=True)]
    return sum(same) / len(same)


def rates(rounds: dict[str, list[dict[str, Any]]]) -> str:
    return ", ".join(f"{name} {done[-1]['tokens_per_s']:,.0f} tokens/s" for name, done in rounds.items())


def plain(settings: Settings) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
