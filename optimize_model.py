"""Prepares the models that the servers load: gets them, converts them, and records what they are.

A second run checks every file against its recorded sha256 and redoes only what is missing or damaged.
"""

import errno
import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

DEFAULT_FOLDER = Path("models")

# Off a terminal rich assumes 80 columns, which cuts tables in a log.
console = Console(width=None if sys.stdout.isatty() else 150)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command(help=__doc__)
def main(
    source: Annotated[
        str,
        typer.Option(
            help="hub, embedded, random, a folder that holds hub snapshots, or auto: "
            "the hub where it answers within a few seconds, else the embedded models."
        ),
    ] = "auto",
    output: Annotated[Path, typer.Option(help="The folder that the servers load from.")] = DEFAULT_FOLDER,
    force: Annotated[bool, typer.Option("--force", help="Redo what is whole, too.")] = False,
) -> None:
    # Heavy imports wait until the arguments are known to be good, so that --help answers at once.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from filelock import FileLock

    from model_export.errors import PreparationError
    from model_export.prepare import prepare

    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with FileLock(output / ".lock"):
            manifest = prepare(source, output, force=force, say=console.print)
    except PreparationError as error:
        console.print(f"error: {error}", style="red", soft_wrap=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        console.print(f"error: cannot write to {output}: {error.strerror}", style="red", soft_wrap=True)
        raise typer.Exit(1) from None
    table = Table(title=f"{output}/ ({manifest.source})", title_justify="left")
    for column in ("artefact", "architecture", "parameters", "MB"):
        table.add_column(column, justify="right" if column in ("parameters", "MB") else "left")
    for name, artefact in manifest.artefacts.items():
        table.add_row(
            name,
            artefact["architecture"],
            f"{artefact['parameters']:,}",
            f"{artefact['bytes'] / 1e6:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    app()
