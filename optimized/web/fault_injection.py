"""A setting for tests: models raise and hang on command. Without GAP_FAULTS nothing imports this module.

GAP_FAULTS names a folder. What `poison-TASK` holds when the server starts is a text that every run raises
on. Every other file is one fault, for the next run of its task, which removes it: `raise-TASK-*` is raised,
`stall-TASK-*` holds for how many ms the run hangs.
"""

import contextlib
import functools
import time
from pathlib import Path
from typing import Any

from .models import Models, SentimentClassifier, Translator


class InjectedFault(RuntimeError):
    """What a test asked for."""


class Faults:
    """The faults of one task, `translation` or `sentiment`."""

    def __init__(self, folder: Path, task: str, model: Translator | SentimentClassifier) -> None:
        self._folder = folder
        self._task = task
        poison = folder / f"poison-{task}"
        self._poison = model.tokenize(poison.read_text(), []) if poison.is_file() else None

    def strike(self, batch: list[list[int]]) -> None:
        """Hangs or raises InjectedFault if a file says so; to be called before each run.

        `batch` holds the token ids of the texts of the run, where it is a text's first.
        """
        for path in self._folder.glob(f"*-{self._task}-*"):
            # Of runs at the same moment, the one that removes the file has its fault.
            with contextlib.suppress(FileNotFoundError):
                hang_ms = path.read_text()
                path.unlink()
                if path.name.startswith("raise"):
                    raise InjectedFault("this run was to raise")
                time.sleep(float(hang_ms) / 1e3)
        if self._poison in batch:
            raise InjectedFault("this text was to raise")


def inject(models: Models, folder: Path) -> None:
    """Has both models look into `folder` before each run."""
    for task, model in (("translation", models.translator), ("sentiment", models.classifier)):
        model.infer = struck(model.infer, Faults(folder, task, model))  # type: ignore[method-assign]


def struck(infer: Any, faults: Faults) -> Any:
    @functools.wraps(infer)
    def run(batch: list[list[int]], *arguments: Any, **options: Any) -> Any:
        faults.strike(batch)
        return infer(batch, *arguments, **options)

    return run
