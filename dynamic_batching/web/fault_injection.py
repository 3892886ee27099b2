"""A setting for tests: models raise and hang on command. Without GAP_FAULTS nothing imports this module.

GAP_FAULTS names a folder. What `poison-TASK` holds when the server starts is a text that every run raises
on. Every other file is one fault, for the next run of its task, which removes it: `raise-TASK-*` is raised,
`stall-TASK-*` holds for how many ms the run hangs.
"""

import contextlib
import functools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime

from .config import Settings
from .decoder import SlotDecoder
from .graphs import Graphs
from .models import Models, SentimentClassifier, Translator
from .row import Encoded, Row


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


def inject(models: Models, settings: Settings) -> None:
    """Has both models look into the folder `settings.faults` before each run."""
    assert settings.faults is not None
    for task, model in (("translation", models.translator), ("sentiment", models.classifier)):
        faults = Faults(settings.faults, task, model)
        model.infer = struck(model.infer, faults)  # type: ignore[method-assign]
        if isinstance(model, Translator):
            model.new_decoder = functools.partial(  # type: ignore[method-assign]
                StruckDecoder, model.graphs, settings.max_batch_size, faults
            )


def struck(infer: Any, faults: Faults) -> Any:
    @functools.wraps(infer)
    def run(batch: list[list[int]], *arguments: Any, **options: Any) -> Any:
        faults.strike(batch)
        return infer(batch, *arguments, **options)

    return run


class StruckDecoder(SlotDecoder):
    """A decoder that looks before texts are encoded, and before each step."""

    def __init__(self, graphs: Graphs, max_batch_size: int, faults: Faults) -> None:
        steps = {name: getattr(graphs, name) for name in ("decoder", "greedy")}
        struck = {name: StruckSession(step, faults) for name, step in steps.items() if step is not None}
        super().__init__(replace(graphs, **struck), max_batch_size)
        self._faults = faults

    def encode(self, rows: list[Row]) -> Encoded:
        self._faults.strike([row.source for row in rows])
        return super().encode(rows)


class StruckSession:
    """A session whose bound runs look first."""

    def __init__(self, session: onnxruntime.InferenceSession, faults: Faults) -> None:
        self._session = session
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: onnxruntime.IOBinding) -> None:
        self._faults.strike([])
        self._session.run_with_iobinding(binding)
