"""What one core does of a task with the INT8 artefact alone: no HTTP, no JSON, no scheduling.

Texts are tokenized and answered in this process, as they come, in full batches. A translation batch runs to
its end, so a scheduler that refills rows as they end may pass its figure.
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

from benchmark.measure.processes import Child, ProcessFailed
from benchmark.runs.environment import environment_record
from benchmark.runs.plan import Cores
from benchmark.runs.records import write_json
from benchmark.stats.formatting import format_number
from locustfiles.inputs import unique

DISTINCT_TEXTS = 4096
Tokenize = Callable[[str], list[int]]
Infer = Callable[[list[list[int]]], int]

LIBRARY_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Measurement:
    """What is measured of a task: every batch size for some seconds."""

    models_dir: Path
    manifest: dict[str, Any]
    cores: Cores
    batch_sizes: tuple[int, ...]
    seconds: float


def measure_tasks(
    measurement: Measurement, tasks: tuple[str, ...], folder: Path, say: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Measures `tasks` one after the other and writes <folder>/ceiling.json; that path, and what it holds.

    Raises:
        ProcessFailed: there is no artefact of a task, or its measurement ended early.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    cores = measurement.cores
    found = {
        task: measure_task(measurement, task, folder / "logs" / f"ceiling-{task}.log", say) for task in tasks
    }
    record = {"environment": environment_record(cores, {}), "tasks": found}
    path = folder / "ceiling.json"
    write_json(path, record)
    return path, record


def measure_task(
    measurement: Measurement, task: str, log_path: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """The figures of each batch size, and the best, from a child on the first of the server's cores."""
    artefact = measurement.manifest["artefacts"].get(f"{task}/onnx")
    if artefact is None:
        raise ProcessFailed(
            f"{measurement.models_dir} holds no {task}/onnx; `python optimize_model.py` prepares it"
        )
    core = measurement.cores.server[0]
    models_dir = str(measurement.models_dir.resolve())
    command = [sys.executable, "-m", "benchmark.experiments.offline_throughput", task, "--models", models_dir]
    command += ["--seconds", f"{measurement.seconds:g}"]
    command += ["--batch-sizes", ",".join(map(str, measurement.batch_sizes))]
    child = Child(command, (core,), log_path, LIBRARY_THREADS, piped=True)
    found = []
    try:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            found.append(json.loads(line))
            say(f"{task}, {found[-1]['batch_size']} a batch: {found[-1]['texts_per_s']:,.1f} texts a second")
        code = child.process.wait()
    finally:
        child.stop()
    if code:
        raise ProcessFailed(f"the ceiling of {task} was not measured: {child.last_line()}")
    return {
        "core": core,
        "seconds": measurement.seconds,
        "batch_sizes": found,
        "best": max(found, key=lambda one: one["texts_per_s"]),
        "model": {key: value for key, value in artefact.items() if key != "files"},
    }


def table(task: str, found: dict[str, Any]) -> Table:
    """The batch sizes of a ceiling, one row each, the best one marked."""
    shown = Table(title=f"{task}: one core, no HTTP", title_justify="left")
    headings = {
        "texts a batch": ("batch_size", 0),
        "texts/s": ("texts_per_s", 1),
        "source tokens/s": ("source_tokens_per_s", 0),
        "target tokens/s": ("target_tokens_per_s", 0),
    }
    for heading in headings:
        shown.add_column(heading, justify="right")
    shown.add_column("")
    for one in found["batch_sizes"]:
        best = "best" if one["batch_size"] == found["best"]["batch_size"] else ""
        shown.add_row(*(format_number(one[key], digits) for key, digits in headings.values()), best)
    return shown


def measure(
    tokenize: Tokenize, infer: Infer, texts: Iterator[str], batch_size: int, seconds: float
) -> dict[str, Any]:
    """Texts and tokens a second of batches of `batch_size`, tokenizing included; one batch warms up."""
    infer([tokenize(next(texts)) for _ in range(batch_size)])
    done = tokens = written = 0
    started_s = time.perf_counter()
    while True:
        batch = [tokenize(next(texts)) for _ in range(batch_size)]
        written += infer(batch)
        done += len(batch)
        tokens += sum(map(len, batch))
        elapsed_s = time.perf_counter() - started_s
        if elapsed_s >= seconds:
            break
    return {
        "batch_size": batch_size,
        "texts": done,
        "texts_per_s": done / elapsed_s,
        "source_tokens_per_s": tokens / elapsed_s,
        "target_tokens_per_s": written / elapsed_s if written else None,
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
    written: list[int] = []
    run: Callable[[list[list[int]]], object]
    try:
        files = find_onnx_files(models_dir, task)
        if task == "translation":
            translator = Translator(files, settings)
            tokenize, run = translator.tokenize, translator.translate
            decode = translator.tokenizer.decode

            def counted(token_ids: list[int]) -> str:
                written.append(len(token_ids))
                return decode(token_ids)

            translator.tokenizer.decode = counted  # type: ignore[method-assign]
        else:
            classifier = SentimentClassifier(files, settings.max_input_tokens)
            tokenize, run = classifier.tokenize, classifier.classify
    except ModelFilesError as error:
        raise SystemExit(f"error: {error}") from None

    def infer(batch: list[list[int]]) -> int:
        written.clear()
        run(batch)
        return sum(written)

    return tokenize, infer


def main() -> int:
    """Measures one task in this process and prints a JSON object for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--batch-sizes", required=True)
    options = parser.parse_args()

    tokenize, infer = load(options.task, options.models)
    texts = [sample.text for sample in itertools.islice(unique(options.task), DISTINCT_TEXTS)]
    for size in map(int, options.batch_sizes.split(",")):
        found = measure(tokenize, infer, itertools.cycle(texts), size, options.seconds)
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
