"""Prepare the models that the servers load: download, convert, verify, and record them in a manifest.

A second run checks each file against its recorded sha256 and redoes only what is missing or damaged.
"""

import os
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import rich
import typer
from rich.table import Table

from model_export.instruction_sets import INSTRUCTION_SETS
from model_export.precision import precision_of, verified

if TYPE_CHECKING:
    from model_export.manifest import Manifest

DEFAULT_FOLDER = Path("models")

# Off a terminal rich assumes 80 columns, which cuts tables in a log.
rich.reconfigure(width=None if sys.stdout.isatty() else 150)
console = rich.get_console()
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def print_line(line: str, style: str | None = None) -> None:
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


@app.command(help=__doc__)
def main(
    source: Annotated[
        str,
        typer.Option(
            help="hub, embedded, random, a folder of hub snapshots, or auto: "
            "the hub if it answers within a few seconds, else the embedded models."
        ),
    ] = "auto",
    output: Annotated[Path, typer.Option(help="Folder that the servers load from.")] = DEFAULT_FOLDER,
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Also verify on labelled data: sst2/dev.tsv, multi30k/test_2016_flickr.*."),
    ] = None,
    kernels: Annotated[
        Literal["auto", "native", "onnxruntime"],
        typer.Option(
            help="What INT8 models run on. native: kernels/, compiled for the first of "
            f"{', '.join(one.title for one in INSTRUCTION_SETS)} that this CPU has; onnxruntime: ONNX "
            "Runtime's own; auto: native if available."
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Redo complete models, too.")] = False,
    float32: Annotated[
        bool, typer.Option("--float32", help="Also write ONNX float32 graphs, into OUTPUT-float32.")
    ] = False,
    no_quality_check: Annotated[
        bool,
        typer.Option(
            "--no-quality-check",
            help="Accept INT8 however much it differs from float32, as for untrained weights. The manifest "
            "and charts say so, and --source auto refuses such models.",
        ),
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Measure all engines and compare them (some minutes).")
    ] = False,
) -> None:
    # Heavy imports wait until the arguments are known to be good, so that --help answers at once.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Warnings about files that transformers writes into this project's own folder.
    warnings.filterwarnings("ignore", category=UserWarning, module="transformers")
    from model_export.errors import PreparationError
    from model_export.prepare import prepare

    try:
        output.mkdir(parents=True, exist_ok=True)
        with locked(output):
            manifest = prepare(
                source,
                output,
                force=force,
                print_line=print_line,
                kernels=kernels,
                eval_data=eval_data,
                check_quality=not no_quality_check,
            )
            prepared = [manifest]
            if float32:
                from model_export.float32 import prepare_float32

                prepared.append(prepare_float32(manifest, print_line))
            if compare:
                compare_engines(manifest)
    except (PreparationError, OSError) as error:
        message = explain(error, output) if isinstance(error, OSError) else error
        print_line(f"error: {message}", "red")
        raise typer.Exit(1) from None
    for one in prepared:
        console.print(size_table(one))
    for name, artefact in manifest.artefacts.items():
        if "comparison" in artefact:
            console.print(comparison_table(name.partition("/")[0], artefact["comparison"]))
    if manifest.fallback:
        print_line(
            f"warning: {output} holds the small embedded models, not the hub's, since {manifest.fallback}; "
            "their figures are not those of the hub's models. The next run asks the hub again; --source "
            "FOLDER uses downloaded models, --source embedded accepts these.",
            "bold yellow",
        )


def locked(output: Path) -> AbstractContextManager[object]:
    """A lock against other preparations; none for a read-only folder, which can still be checked."""
    from filelock import FileLock

    return FileLock(output / ".lock") if os.access(output, os.W_OK) else nullcontext()


def explain(error: OSError, output: Path) -> str:
    """What the system refused, on which path, and a remedy."""
    path = Path(error.filename or output)
    refused = f"{path}: {error.strerror or error}"
    if isinstance(error, PermissionError):
        readable = f"its owner lets others read with `chmod -R a+rX {path.parent}`"
        return f"{refused} for user {os.getuid()}; {readable}, and --output FOLDER writes elsewhere"
    return f"{refused}; --output FOLDER writes elsewhere" if path.is_relative_to(output) else refused


def compare_engines(manifest: "Manifest") -> None:
    from model_export.compare import compare
    from model_export.manifest import TASKS

    for task in TASKS:
        print_line(f"{task}: comparing engines on one thread")
        manifest.annotate(f"{task}/onnx", "comparison", compare(task, manifest.folder, print_line))


def size_table(manifest: "Manifest") -> Table:
    """One row per artefact, with the figures of its verification."""
    table = Table(title=f"{manifest.folder}/ ({manifest.source})", title_justify="left")
    numbers = ("parameters", "MB", "of float32")
    for column in ("artefact", "architecture", *numbers, "precision", "verified (95 % interval)"):
        table.add_column(column, justify="right" if column in numbers else "left")
    for name, artefact in manifest.artefacts.items():
        original = manifest.artefacts.get(f"{artefact['task']}/pytorch", artefact)
        table.add_row(
            name,
            artefact["architecture"],
            f"{artefact['parameters']:,}",
            f"{artefact['bytes'] / 1e6:.1f}",
            f"{artefact['bytes'] / original['bytes']:.3f}",
            precision_of(artefact),
            verified(artefact),
        )
    return table


def comparison_table(task: str, rows: list[dict[str, Any]]) -> Table:
    """One row per engine; the first is the reference."""
    match_rate = "chrF to float32" if task == "translation" else "equal labels %"
    table = Table("engine", title=f"{task}, one thread", title_justify="left")
    for column in ("MB", "load s", "B=1 ms", "B=32 ms", "identical", match_rate):
        table.add_column(column, justify="right")
    for row in rows:
        latency_ms = {int(batch): value for batch, value in row["latency_ms"].items()}
        table.add_row(
            row["engine"],
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['load_s']:.2f}",
            f"{latency_ms[1]:.1f}",
            f"{latency_ms[32]:.1f}",
            f"{row['identical']:.1%}",
            f"{row['likeness']:.1f}",
        )
    return table


if __name__ == "__main__":
    app()
