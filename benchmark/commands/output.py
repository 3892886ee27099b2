"""What commands print: lines, tables, and errors as one line with an exit code."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import typer
from rich.console import Console

from benchmark.runs.errors import BenchmarkError

# Off a terminal rich assumes 80 columns, which cuts tables in a log.
console = Console(width=None if sys.stdout.isatty() else 150)
error_console = Console(stderr=True, style="red")


def print_line(line: object) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def fail(message: object, exit_code: int = 1) -> typer.Exit:
    """Prints `message` as an error on stderr; the exception to raise."""
    error_console.print(f"error: {message}", highlight=False, markup=False, soft_wrap=True)
    return typer.Exit(exit_code)


@contextmanager
def one_line_errors(results: Path, resume: str = "") -> Iterator[None]:
    """Ends the command with one line where it fails or is interrupted, and with how to `resume` it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        print_line(f"\ninterrupted; what was measured before is kept{resume}")
        raise typer.Exit(130) from None
    except (BenchmarkError, httpx.HTTPError) as error:
        raise fail(f"{error}{resume}") from None
    except OSError as error:
        message = f"cannot write the results under {results}: {error.strerror or error}"
        raise fail(message + resume) from None
