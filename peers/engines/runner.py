"""Measures the engines: converts their weights once, tunes each on these cores, then lets all take turns.

Rounds go A B C, B C A, C A B, so that a drift of the machine's speed affects all; a ratio is within a round.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import read_json, write_json
from benchmark.stats.formatting import SPEED_UNITS
from dynamic_batching.runtime.tokenization import BertTokenizer, MarianTokenizer
from dynamic_batching.web.model_files import ModelFiles, ModelFilesError, find_model_files
from locustfiles.inputs import unique
from peers.engines.dataset import Dataset, select_sources
from peers.engines.registry import OURS, REFERENCE, Settings, engine_spec, engines_of, format_settings
from peers.engines.workers import Paths, Workers
from peers.halving import Pass, successive_halving
from peers.lengths import Lengths

# A multiple of every candidate's batch size.
GROUP = 128
SAMPLE_TEXTS = 64
# Per core, of a pass while settings are tried.
SEARCH_TEXTS = GROUP


@dataclass
class TunedEngine:
    """An engine with its fastest settings, its answers to the sample, and its measured rounds."""

    title: str
    workers: Workers
    settings: Settings
    sample_answers: list[list[int]]
    searched: list[dict[str, Any]]
    rounds: list[Pass] = field(default_factory=list)

    def record(self, reference: list[list[int]] | None) -> dict[str, Any]:
        return {
            "title": self.title,
            "version": self.workers.version,
            "settings": self.settings,
            "tokens_per_s": median(one["tokens_per_s"] for one in self.rounds),
            "identical_to_float32": None if reference is None else match_rate(self.sample_answers, reference),
            "wrong_lengths": sum(one["wrong_lengths"] for one in self.rounds),
            "rounds": self.rounds,
            "searched": self.searched,
        }


@dataclass(frozen=True)
class Runner:
    """What is measured. `lengths` are of `peers.engines.dataset.LENGTHS`; `texts` is the number per core.

    An engine that does not do a task is no part of its comparison.
    """

    tasks: tuple[str, ...]
    engines: tuple[str, ...]
    cores: tuple[int, ...]
    lengths: tuple[str, ...]
    texts: int
    rounds: int
    print_line: Callable[[str], None]

    def run(
        self, models: Path, folder: Path, weights_cache: Path, python: Path
    ) -> tuple[Path, dict[str, Any]]:
        """Writes <folder>/engines.json after each workload; its path and its content.

        Workloads that it holds already are not measured again.

        Raises:
            ProcessFailed: there is no model of a task, or ours ended early. Another engine that fails has its
                error in the record.
        """
        logs, path = folder / "logs", folder / "engines.json"
        found = {task: find_files(models, task) for task in self.tasks}
        logs.mkdir(parents=True, exist_ok=True)
        environment = environment_record(Cores(self.cores, ()), {})
        record = read_json(path) if path.is_file() else {"environment": environment, "tasks": {}}
        for task, (files, weights_sha256) in found.items():
            paths = Paths(task, models.resolve(), weights_cache.resolve(), weights_sha256, logs, python)
            trained = files.facts.get("trained") is not False
            model = {key: value for key, value in files.facts.items() if key != "files"}
            workloads = record["tasks"].setdefault(task, {"model": model, "workloads": {}})["workloads"]
            for lengths in self.lengths:
                if lengths not in workloads:
                    dataset = self.dataset(task, files, lengths)
                    workloads[lengths] = self.measure(lengths, dataset, paths, trained)
                    write_json(path, record)
        return path, record

    def dataset(self, task: str, files: ModelFiles, lengths: str) -> Dataset:
        """The texts of a workload with the maximum lengths that the servers set."""
        tokenizer = BertTokenizer(files.folder) if task == "sentiment" else MarianTokenizer(files.folder)
        stream = (tokenizer.encode(sample.text) for sample in unique(task))
        count, group = self.texts * len(self.cores), GROUP * len(self.cores)
        sources = select_sources(stream, lengths, count, group)
        end_id = tokenizer.encode("")[-1]
        if task == "sentiment":
            return Dataset(sources, [1] * len(sources), True, end_id)
        limits = Lengths(files.facts)
        max_new_tokens = [limits.max_new_tokens(len(source)) for source in sources]
        return Dataset(sources, max_new_tokens, limits.fixed, end_id)

    def measure(self, lengths: str, dataset: Dataset, paths: Paths, trained: bool) -> dict[str, Any]:
        """The record of one workload: every engine's settings, rounds and match rate, and our speed-ups.

        Only trained weights have a match rate: with random ones the best answers are all but tied.
        """
        sample = dataset.first(SAMPLE_TEXTS)
        tuned: dict[str, TunedEngine] = {}
        errors: dict[str, str] = {}
        with ExitStack() as stack:
            for name in engines_of(paths.task, self.engines):
                try:
                    tuned[name] = self.tune(name, dataset, sample, paths, stack)
                except ProcessFailed as error:
                    if name == OURS:
                        raise
                    errors[name] = str(error)
                    self.print_line(f"{paths.task}, {name}: {error}")
            names = tuple(tuned)
            for turn in range(self.rounds):
                shift = turn % len(tuned)
                for name in names[shift:] + names[:shift]:
                    tuned[name].rounds.append(tuned[name].workers.measure(dataset, tuned[name].settings))
                speeds = [f"{name} {one.rounds[-1]['tokens_per_s']:,.0f}" for name, one in tuned.items()]
                self.print_line(
                    f"{paths.task}, {lengths}, round {turn + 1} of {self.rounds}, "
                    f"{SPEED_UNITS[paths.task]}: {', '.join(speeds)}"
                )
        reference = reference_answers(sample, self.cores, paths) if trained else None
        return {
            **dataset.summary(),
            "sample_texts": len(sample.sources),
            "engines": {name: engine.record(reference) for name, engine in tuned.items()},
            "errors": errors,
            "ratios": speed_ups({name: engine.rounds for name, engine in tuned.items()}),
        }

    def tune(
        self, name: str, dataset: Dataset, sample: Dataset, paths: Paths, stack: ExitStack
    ) -> TunedEngine:
        """The engine with the fastest of its candidate settings; `stack` ends its processes."""
        spec = engine_spec(paths.task, name)
        if spec.converts_weights and not paths.converted(name).is_dir():
            self.print_line(f"{paths.task}: converting the weights for {name} (once)")
            convert_weights(name, self.cores, paths)
        candidates = spec.candidates(len(self.cores), dataset.fixed_length)
        load = cache(lambda key: stack.enter_context(closing(Workers(name, dict(key), self.cores, paths))))
        loaded = [load(spec.process_key(settings)) for settings in candidates]
        for workers, settings in zip(loaded, candidates, strict=True):
            workers.answers(sample, settings)  # warm-up
        short = dataset.first(SEARCH_TEXTS * len(self.cores))
        best, passes = successive_halving(
            len(candidates),
            lambda index: loaded[index].measure(short, candidates[index]),
            lambda line: self.print_line(f"{paths.task}, {name}, {line}"),
            unit=SPEED_UNITS[paths.task],
        )
        chosen = format_settings(candidates[best])
        self.print_line(f"{paths.task}, {name}, best of {len(candidates)} settings: {chosen}")
        for workers in {*loaded} - {loaded[best]}:
            workers.close()
        searched = [
            {"settings": settings, "rounds": rounds}
            for settings, rounds in zip(candidates, passes, strict=True)
        ]
        answers = loaded[best].answers(sample, candidates[best])
        return TunedEngine(spec.title, loaded[best], candidates[best], answers, searched)


def find_files(models: Path, task: str) -> tuple[ModelFiles, str]:
    """The INT8 model of a task, and the sha256 of the float32 weights that other engines convert."""
    try:
        files = find_model_files(models, f"{task}/onnx")
        return files, find_model_files(models, f"{task}/pytorch").facts["files"]["model.safetensors"][
            "sha256"
        ]
    except (ModelFilesError, KeyError) as error:
        raise ProcessFailed(error) from None


def reference_answers(dataset: Dataset, cores: tuple[int, ...], paths: Paths) -> list[list[int]]:
    (settings,) = engine_spec(paths.task, REFERENCE).candidates(1, dataset.fixed_length)
    with closing(Workers(REFERENCE, {}, cores[:1], paths)) as workers:
        return workers.answers(dataset, settings)


def convert_weights(name: str, cores: tuple[int, ...], paths: Paths) -> None:
    """Makes an engine's own copy of the weights."""
    log = paths.logs / f"peers-{paths.task}-{name}-convert.log"
    child = Child(paths.command(name, "--convert"), cores, log, engine_spec(paths.task, name).environment({}))
    try:
        if child.process.wait():
            raise ProcessFailed(f"converting the weights for {name} failed: {child.last_line()}")
    finally:
        child.stop()


def speed_ups(rounds: dict[str, list[Pass]]) -> dict[str, dict[str, float]]:
    """Our speed over each other engine's, round by round: the median, minimum and maximum."""
    speeds = {name: [one["tokens_per_s"] for one in passes] for name, passes in rounds.items()}
    ours = speeds.pop(OURS, None)
    if ours is None:
        return {}
    ratios = {name: [a / b for a, b in zip(ours, theirs, strict=True)] for name, theirs in speeds.items()}
    return {
        name: {"median": median(values), "min": min(values), "max": max(values)}
        for name, values in ratios.items()
    }


def match_rate(answers: list[list[int]], reference: list[list[int]]) -> float:
    """The share of answers with the same tokens as the reference."""
    return mean(float(answer == other) for answer, other in zip(answers, reference, strict=True))
