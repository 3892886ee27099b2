"""What a server holds: memory, open files, threads."""

from dataclasses import dataclass

import psutil

# A connection to Redis may be open at one moment and not at another.
FILES_TO_SPARE = 4


@dataclass(frozen=True)
class Resources:
    rss_bytes: int
    open_files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Resources":
        process = psutil.Process(pid)
        with process.oneshot():
            return cls(process.memory_info().rss, process.num_fds(), process.num_threads())


def leaks(before: Resources, after: Resources, largest_growth: float) -> list[str]:
    """What grew between two moments of rest; memory may by the share `largest_growth`."""
    found = []
    growth = after.rss_bytes / before.rss_bytes - 1
    if growth > largest_growth:
        found.append(f"memory grew by {growth:.1%}, from {before.rss_bytes} to {after.rss_bytes} bytes")
    if after.open_files > before.open_files + FILES_TO_SPARE:
        found.append(f"open files grew from {before.open_files} to {after.open_files}")
    return found
