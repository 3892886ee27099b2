"""A setting for tests: models raise and hang on command. Without GAP_FAULTS nothing imports this module.

GAP_FAULTS names a folder. Every run raises on the text that `poison-TASK` holds when the server starts. Each
other file is one fault, for the next run: `raise-TASK-*` is raised, `stall-TASK-*` is how many ms it hangs.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class InjectedFault(RuntimeError):
    """What a test asked for."""


class Faults:
    """The faults of one task, `translation` or `sentiment`; `tokenize` gives a text's token ids."""

    def __init__(self, folder: Path, task: str, tokenize: Callable[[str], list[int]]) -> None:
        self._folder, self._task, poison = folder, task, folder / f"poison-{task}"
        self._poison = tokenize(poison.read_text()) if poison.is_file() else None

    def inject(self, batch: list[list[int]]) -> None:
        """Hangs or raises InjectedFault if a file says so; `batch` holds the token ids of a run's texts."""
        for path in self._folder.glob(f"*-{self._task}-*"):
            # Of runs at the same moment, the one that removes the file has its fault.
            with contextlib.suppress(FileNotFoundError):
                stall_ms = path.read_text()
                path.unlink()
                if path.name.startswith("raise"):
                    raise InjectedFault("this run was to raise")
                time.sleep(float(stall_ms) / 1e3)
        if self._poison in batch:
            raise InjectedFault("this text was to raise")

    def before(self, run: Callable[..., Any], batch_of: Callable[..., list[list[int]]]) -> Callable[..., Any]:
        """`run` with the faults before each call, whose arguments `batch_of` turns into token ids."""

        def faulty(*arguments: Any, **options: Any) -> Any:
            self.inject(batch_of(*arguments, **options))
            return run(*arguments, **options)

        return faulty
