"""A bar for work that takes more than a few seconds; off a terminal there is none."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import rich
from rich import progress

Item = TypeVar("Item")


def track(work: Sequence[Item], label: str) -> Iterable[Item]:
    """The items of `work`, with a bar of how many are done, which is gone when all are."""
    return progress.track(work, label, transient=True, disable=not rich.get_console().is_terminal)
