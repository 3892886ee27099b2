"""What a user writes on the command line as values, and what it prints back in one line."""

import json
import sys
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from benchmark.runs.plan import Cores
from benchmark.runs.records import WORKLOADS
from dynamic_batching.web.cpus import cpu_quota

TOO_HIGH = 10_000

# Off a terminal rich assumes 80 columns, which cuts tables in a log.
console = Console(width=None if sys.stdout.isatty() else 150)


def one_of(name: str, known: tuple[str, ...], option: str) -> str:
    if name not in known:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(known)}", param_hint=option)
    return name


def chosen(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        one_of(name, known, option)
    if not names:
        raise typer.BadParameter(f"names at least one of {', '.join(known)}", param_hint=option)
    return tuple(dict.fromkeys(names))


def user_counts(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers such as 10,50,100", param_hint="--users"
        ) from None
    if counts[0] < 1 or counts[-1] > TOO_HIGH:
        raise typer.BadParameter(f"each should be from 1 to {TOO_HIGH}", param_hint="--users")
    return counts


def positive_numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers such as 0.5,1,2", param_hint=option
        ) from None
    if not (numbers[0] > 0 and numbers[-1] <= TOO_HIGH):
        raise typer.BadParameter(f"each should be over 0 and at most {TOO_HIGH}", param_hint=option)
    return numbers


def workload_pairs(text: str) -> tuple[tuple[str, int], ...]:
    pairs = []
    for part in text.split(","):
        name, _, size = part.strip().partition(":")
        if name not in WORKLOADS or (size and not (size.isdigit() and 1 <= int(size) <= 64)):
            raise typer.BadParameter(
                f"{part!r} is not one of {', '.join(WORKLOADS)}, with :N for batches of N texts (1 to 64)",
                param_hint="--workloads",
            )
        pairs.append((name, int(size or 1)))
    return tuple(dict.fromkeys(pairs))


def fail(message: object) -> typer.Exit:
    console.print(f"error: {message}", style="red", soft_wrap=True, markup=False)
    return typer.Exit(1)


def plainly(line: object) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def manifest_of(models: Path) -> dict[str, Any]:
    try:
        return json.loads((models / "manifest.json").read_text())
    except PermissionError as error:
        raise fail(f"{error.filename} cannot be read by this user ({error.strerror})") from None
    except (OSError, ValueError):
        raise fail(f"{models} holds no models; `python optimize_model.py` prepares them") from None


def measured_cores(server_cores: int | None = None) -> Cores:
    """The cores of a server and its load; ends the command where the CPU quota is below them."""
    cores = Cores.split(server_cores)
    check_quota(len({*cores.server, *cores.load}))
    return cores


def check_quota(cores: int) -> None:
    """Ends the command where the CPU quota is below `cores`: they would be throttled while they measure."""
    quota = cpu_quota()
    if quota is not None and quota < cores:
        raise fail(
            f"the CPU quota of this container is {quota:g} and this run pins {cores}, so that it would"
            " be throttled; give it fewer cores (--server-cores) or more quota (docker run --cpus)"
        )
