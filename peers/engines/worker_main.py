"""One engine in a process of its own, `python -m peers.engines.worker_main`, which workers.py starts.

Each line of standard input is a request for one pass, a JSON object with a dataset and settings; a line of
standard output answers it. A worker without a request sleeps, so it takes no CPU time from others.
"""

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

from peers.engines.dataset import Dataset, Timer
from peers.engines.registry import Settings


class Engine(Protocol):
    """A loaded model."""

    version: str

    def run(self, dataset: Dataset, settings: Settings, timer: Timer) -> list[list[int]]:
        """The answers in the order of the texts; `timer` encloses nothing but inference."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("task")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--converted", type=Path, required=True)
    parser.add_argument("--convert", action="store_true", help="write --converted, and end")
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    module: Any = importlib.import_module(f"peers.engines.{options.engine}_{options.task}")
    if options.convert:
        convert(module, options.models, options.converted)
        return 0
    engine: Engine = module.Engine(options.models, options.converted, options.settings)
    for line in sys.stdin:
        request = json.loads(line)
        answer = run_pass(engine, Dataset(**request["dataset"]), request["settings"])
        print(json.dumps(answer), flush=True)
    return 0


def run_pass(engine: Engine, dataset: Dataset, settings: Settings) -> dict[str, Any]:
    """Answers the dataset once: the answers, their tokens, and the seconds that it took."""
    timer = Timer()
    answers = engine.run(dataset, settings, timer)
    return {
        "version": engine.version,
        "tokens": sum(map(len, answers)),
        "seconds": timer.seconds,
        "wrong_lengths": dataset.wrong_lengths(answers),
        "answers": answers,
    }


def convert(module: Any, models: Path, converted: Path) -> None:
    """Writes an engine's own copy of the weights, complete or not at all; another process may do the same."""
    converted.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=converted.parent, prefix=f".{converted.name}-") as scratch:
        complete = Path(scratch) / "weights"
        module.convert(models, complete)
        try:
            complete.rename(converted)
        except OSError:
            # A folder with files is not replaced: the other process was faster, with the same weights.
            if not converted.is_dir():
                raise


if __name__ == "__main__":
    sys.exit(main())
