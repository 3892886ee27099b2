"""Offline throughput: what one core does of a task with the INT8 model alone, without HTTP or scheduling.

Texts are tokenized and answered in this process in full batches. A translation batch runs to its end, so a
scheduler that refills rows as they end may exceed its figure.
`python -m benchmark offline-throughput` writes results/<run>/ceiling.json and runs this file pinned.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmark.measure.configurations import Configuration
from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import write_json
from benchmark.stats.formatting import format_number
from locustfiles.inputs import unique

DISTINCT_TEXTS = 4096
COLUMNS = {
    "texts a batch": ("batch_size", 0),
    "texts/s": ("texts_per_s", 1),
    "source tokens/s": ("source_tokens_per_s", 0),
    "target tokens/s": ("target_tokens_per_s", 0),
}
LIBRARY_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

Tokenize = Callable[[str], list[int]]
Infer = Callable[[list[list[int]]], int]


@dataclass(frozen=True)
class Measurement:
    """What is measured of a task: every batch size for some seconds."""

    models_dir: Path
    manifest: dict[str, Any]
    cores: Cores
    batch_sizes: tuple[int, ...]
    seconds: float


def measure_tasks(
    measurement: Measurement, tasks: tuple[str, ...], folder: Path, print_line: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Measures `tasks` one after the other and writes <folder>/ceiling.json; that path, and its content.

    Raises:
        ProcessFailed: the model of a task is missing, or its measurement ended early.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    by_task = {
        task: measure_task(measurement, task, logs / f"offline-{task}.log", print_line) for task in tasks
    }
    record = {"environment": environment_record(measurement.cores, {}), "tasks": by_task}
    path = folder / "ceiling.json"
    write_json(path, record)
    return path, record


def measure_task(
    measurement: Measurement, task: str, log_path: Path, print_line: Callable[[str], None]
) -> dict[str, Any]:
    """The figures of each batch size, and the best, from a child on the first of the server's cores."""
    served = Configuration("dynamic_batching", measurement.models_dir, measurement.manifest, cached=False)
    model = served.model(task)
    core = measurement.cores.server[0]
    command = [sys.executable, "-m", "benchmark.experiments.offline_throughput", task]
    command += ["--models", str(measurement.models_dir.resolve()), "--seconds", str(measurement.seconds)]
    command += ["--batch-sizes", *map(str, measurement.batch_sizes)]
    child = Child(command, (core,), log_path, LIBRARY_THREADS, piped=True)
    rows = []
    try:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            row = json.loads(line)
            rows.append(row)
            print_line(f"{task}, {row['batch_size']} a batch: {row['texts_per_s']:,.1f} texts/s")
        code = child.process.wait()
    finally:
        child.stop()
    if code:
        raise ProcessFailed(f"the offline throughput of {task} was not measured: {child.last_line()}")
    return {
        "core": core,
        "seconds": measurement.seconds,
        "batch_sizes": rows,
        "best": max(rows, key=lambda row: row["texts_per_s"]),
        "model": model,
    }


def table(task: str, record: dict[str, Any]) -> Table:
    """The batch sizes of a task, one row each, the best one marked."""
    rows = Table(title=f"{task}: one core, no HTTP", title_justify="left")
    for heading in COLUMNS:
        rows.add_column(heading, justify="right")
    rows.add_column("")
    for row in record["batch_sizes"]:
        best = "best" if row["batch_size"] == record["best"]["batch_size"] else ""
        rows.add_row(*(format_number(row[key], digits) for key, digits in COLUMNS.values()), best)
    return rows


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


def load(task: str, models_dir: Path) -> tuple[Tokenize, Infer]:
    """The task's tokenizer, and its inference as a function that returns how many tokens it wrote.

    Raises:
        SystemExit: the models are missing or damaged; the text is for the user.
    """
    from dynamic_batching.config import Settings
    from dynamic_batching.models import Translator
    from dynamic_batching.runtime.models import SentimentClassifier
    from dynamic_batching.runtime.onnx_files import find_onnx_files
    from dynamic_batching.web.model_files import ModelFilesError

    settings = Settings(models_dir=models_dir)
    try:
        files = find_onnx_files(models_dir, task)
        if task == "sentiment":
            classifier = SentimentClassifier(files, settings.max_input_tokens)
            return classifier.tokenize, lambda batch: 0 * len(classifier.classify(batch))
        translator = Translator(files, settings)
    except ModelFilesError as error:
        raise SystemExit(f"error: {error}") from None
    target_lengths: list[int] = []
    decode = translator.tokenizer.decode

    def decode_and_count(token_ids: list[int]) -> str:
        target_lengths.append(len(token_ids))
        return decode(token_ids)

    def translate(batch: list[list[int]]) -> int:
        target_lengths.clear()
        translator.translate(batch)
        return sum(target_lengths)

    translator.tokenizer.decode = decode_and_count  # type: ignore[method-assign]
    return translator.tokenize, translate


def main() -> int:
    """Measures one task in this process and prints a JSON object for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch-sizes", type=int, nargs="+", required=True)
    options = parser.parse_args()
    tokenize, infer = load(options.task, options.models)
    texts = [sample.text for sample in itertools.islice(unique(options.task), DISTINCT_TEXTS)]
    for size in options.batch_sizes:
        row = measure(tokenize, infer, itertools.cycle(texts), size, options.seconds)
        print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
