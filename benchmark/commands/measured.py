"""What every command that measures does alike: the name of its run, and its errors in one line."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from benchmark.commands.options import console, fail


def run_name(kind: str, manifest: dict[str, Any]) -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{kind}-{manifest['source']}"


@contextmanager
def measured(results: Path) -> Iterator[None]:
    """Ends the command with one line where the measurement inside is stopped or fails."""
    from benchmark.measure.processes import ProcessFailed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        console.print("\nstopped; what was measured so far stays")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
