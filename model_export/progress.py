"""What preparation prints: lines, and a progress bar where standard output is a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import rich
from rich import progress

Item = TypeVar("Item")
PrintLine = Callable[[str], None]


def track(work: Sequence[Item], label: str) -> Iterable[Item]:
    """The items of `work`, with a progress bar that is removed at the end."""
    return progress.track(work, label, transient=True, disable=not rich.get_console().is_terminal)
