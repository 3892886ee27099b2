"""Offline throughput: what one core does of a task with the INT8 model alone, without HTTP or scheduling.

Texts are tokenized and answered in this process in full batches. A translation batch runs to its end, so a
scheduler that refills slots as sequences end may exceed its figure.

results/<run>/offline_throughput.json   of each task the figures by batch size, and the best
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.table import Table

from benchmark.measure.configurations import Configuration
from benchmark.measure.processes import ProcessFailed
from benchmark.runs.environment import can_pin, environment_record
from benchmark.runs.plan import Cores
from benchmark.stats.formatting import format_number, rich_table
from dynamic_batching.config import Settings
from dynamic_batching.models import Translator, decode_batch
from dynamic_batching.runtime.models import SentimentClassifier
from dynamic_batching.runtime.onnx_files import find_onnx_files
from dynamic_batching.web.model_files import ModelFilesError
from dynamic_batching.web.settings import read_settings
from locustfiles.inputs import unique

FILE = "offline_throughput.json"
DISTINCT_TEXTS = 4096

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
    core = cores.server[0]
    by_task: dict[str, Any] = {}
    # Pinning is of a thread: it ends with this one. Inference has no threads of its own.
    with ThreadPoolExecutor(1, initializer=pin, initargs=(core,)) as pinned:
        for task in tasks:
            model = models.model(task)
            try:
                tokenize, infer = pinned.submit(load, task, models).result()
            except ModelFilesError as error:
                raise ProcessFailed(str(error)) from None
            texts = [sample.text for sample in itertools.islice(unique(task), DISTINCT_TEXTS)]
            rows = []
            for size in batch_sizes:
                run = pinned.submit(measure, tokenize, infer, itertools.cycle(texts), size, seconds)
                rows.append(run.result())
                print_line(f"{task}, {size} a batch: {rows[-1]['texts_per_s']:,.1f} texts/s")
            best = max(rows, key=lambda row: row["texts_per_s"])
            by_task[task] = {
                "core": core,
                "seconds": seconds,
                "batch_sizes": rows,
                "best": best,
                "model": model,
            }
    return {"environment": environment_record(cores, {}), "tasks": by_task}


def pin(core: int) -> None:
    """Keeps this thread on one core, where the system can do that."""
    if can_pin():
        os.sched_setaffinity(0, (core,))


def load(task: str, models: Configuration) -> tuple[Tokenize, Infer]:
    """The task's tokenizer, and its inference as a function that returns how many tokens it wrote.

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

        return classifier.tokenize, classify
    translator = Translator(files, settings)
    decoder = translator.new_decoder()

    def translate(batch: list[list[int]]) -> int:
        answers = decode_batch(decoder, [translator.sequence(token_ids) for token_ids in batch])
        for token_ids in answers:
            translator.sentence(token_ids)
        return sum(map(len, answers))

    return translator.tokenize, translate


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
