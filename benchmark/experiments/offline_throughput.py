"""Offline throughput: what one core does of a task with the INT8 model alone, without HTTP or scheduling.

Texts are tokenized and answered in this process in full batches. A translation batch runs to its end, so a
scheduler that refills slots as sequences end may exceed its figure. Where there are more cores, the best
batch size is measured on one and on all of them in turns: a thread a core, with the same weights.

results/<run>/offline_throughput.json   of each task the figures by batch size, the best, and those by cores
"""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmark.measure.configurations import Configuration
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import can_pin, environment_record
from benchmark.runs.plan import Cores
from benchmark.stats.formatting import format_number, rich_table
from benchmark.stats.intervals import ratio_of_rounds
from dynamic_batching.config import Settings
from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.runtime.onnx_files import find_onnx_files
from dynamic_batching.web.model_files import ModelFilesError
from dynamic_batching.web.settings import read_settings
from locustfiles.inputs import unique

FILE = "offline_throughput.json"
DISTINCT_TEXTS = 4096
# Of one core and of all, in turns.
ROUNDS = 5

Tokenize = Callable[[str], list[int]]
Infer = Callable[[list[list[int]]], int]


def measure_tasks(
    tasks: Sequence[str],
    models: Configuration,
    cores: Cores,
    batch_sizes: Sequence[int],
    seconds: float,
    print_line: Callable[[str], None],
) -> dict[str, Any]:
    """The record of `tasks`, each batch size measured for some seconds on the first of the server's cores.

    Raises:
        ProcessFailed: the model of a task is missing or damaged.
    """
    core, all_cores = cores.server[0], (*cores.server, *cores.load)
    by_task: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        # Pinning is of a thread: it ends with this one. Inference has no threads of its own.
        pinned = [
            stack.enter_context(ThreadPoolExecutor(1, initializer=pin, initargs=(one,)))
            for one in dict.fromkeys(all_cores)
        ]
        for task in tasks:
            model = models.model(task)
            try:
                loaded = pinned[0].submit(load, task, models).result()
            except ModelFilesError as error:
                raise ProcessFailed(str(error)) from None
            rows = []
            for size in batch_sizes:
                rows += loaded.measure(pinned[:1], size, seconds)
                print_line(f"{task}, {size} a batch: {rows[-1]['texts_per_s']:,.1f} texts/s")
            best = max(rows, key=lambda row: row["texts_per_s"])
            by_task[task] = {
                "core": core,
                "seconds": seconds,
                "batch_sizes": rows,
                "best": best,
                "model": model,
            }
            if len(pinned) > 1:
                rounds = []
                for _ in range(ROUNDS):
                    turns = [
                        loaded.measure(threads, best["batch_size"], seconds)
                        for threads in (pinned[:1], pinned)
                    ]
                    rounds.append([sum(each["texts_per_s"] for each in turn) for turn in turns])
                by_task[task]["scaling"] = scaling = scaling_of(len(pinned), rounds)
                print_line(f"{task}, {len(pinned)} cores: {scaling['ratio']:.2f}x one")
    return {"environment": environment_record(cores, {}), "tasks": by_task}


def scaling_of(cores: int, rounds: list[list[float]]) -> dict[str, Any]:
    """`rounds` are texts a second of one core and of all; their ratio over the rounds with its interval."""
    ratio = ratio_of_rounds([one for one, _ in rounds], [together for _, together in rounds])
    return {
        "cores": cores,
        "rounds_texts_per_s": rounds,
        "ratio": ratio.value,
        "ratio_low": ratio.interval and ratio.interval.low,
        "ratio_high": ratio.interval and ratio.interval.high,
    }


def pin(core: int) -> None:
    """Keeps this thread on one core, where the system can do that."""
    if can_pin():
        os.sched_setaffinity(0, (core,))


@dataclass(frozen=True)
class Loaded:
    """A task's tokenizer, and what makes a thread's inference, which returns how many tokens it wrote."""

    task: str
    tokenize: Tokenize
    new_infer: Callable[[], Infer]

    def measure(
        self, threads: Sequence[ThreadPoolExecutor], batch_size: int, seconds: float
    ) -> list[dict[str, Any]]:
        """The figures of each thread, all at the same time, on the task's texts in the same order."""
        texts = [sample.text for sample in itertools.islice(unique(self.task), DISTINCT_TEXTS)]
        started = [
            thread.submit(
                measure, self.tokenize, self.new_infer(), itertools.cycle(texts), batch_size, seconds
            )
            for thread in threads
        ]
        return [one.result() for one in started]


def load(task: str, models: Configuration) -> Loaded:
    """The model of a task.

    Raises:
        ModelFilesError: the model is missing or damaged.
    """
    settings = read_settings(Settings)
    files = find_onnx_files(models.models_dir, task)
    if task == "sentiment":
        classifier = SentimentClassifier(files, settings.max_input_tokens)

        def classify(batch: list[list[int]]) -> int:
            classifier.classify(batch)
            return 0

        return Loaded(task, classifier.tokenize, lambda: classify)
    translator = Translator(files, settings)

    def new_translate() -> Infer:
        decoder = translator.new_decoder()

        def translate(batch: list[list[int]]) -> int:
            answers = decode_batch(decoder, [translator.sequence(token_ids) for token_ids in batch])
            for token_ids in answers:
                translator.sentence(token_ids)
            return sum(map(len, answers))

        return translate

    return Loaded(task, translator.tokenize, new_translate)


def measure(
    tokenize: Tokenize, infer: Infer, texts: Iterator[str], batch_size: int, seconds: float
) -> dict[str, Any]:
    """Texts and tokens a second of batches of `batch_size`, tokenizing included; one batch warms up."""
    infer([tokenize(next(texts)) for _ in range(batch_size)])
    answered = source_tokens = target_tokens = 0
    started_s = time.perf_counter()
    while (elapsed_s := time.perf_counter() - started_s) < seconds or not answered:
        batch = [tokenize(next(texts)) for _ in range(batch_size)]
        target_tokens += infer(batch)
        answered += len(batch)
        source_tokens += sum(map(len, batch))
    return {
        "batch_size": batch_size,
        "texts": answered,
        "texts_per_s": answered / elapsed_s,
        "source_tokens_per_s": source_tokens / elapsed_s,
        "target_tokens_per_s": target_tokens / elapsed_s if target_tokens else None,
    }


def table(task: str, figures: dict[str, Any]) -> Table:
    """The batch sizes of a task, one row each, the best one marked."""
    rows = (
        {
            "texts a batch": str(row["batch_size"]),
            "texts/s": format_number(row["texts_per_s"], 1),
            "source tokens/s": format_number(row["source_tokens_per_s"], 0),
            "target tokens/s": format_number(row["target_tokens_per_s"], 0),
            "note": "best" if row == figures["best"] else "",
        }
        for row in figures["batch_sizes"]
    )
    return rich_table(rows, f"{task}: one core, no HTTP")
