"""`python -m benchmark offline-throughput`: what one core does of a task with no server around it."""

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.options import (
    chosen,
    console,
    fail,
    manifest_of,
    measured_cores,
    plainly,
    positive_numbers,
)
from benchmark.runs.records import TASKS


def offline_throughput(
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    batch_sizes: Annotated[str, typer.Option(help="Texts a batch, comma-separated.")] = "1,2,4,8,16,32,64",
    seconds: Annotated[float, typer.Option(min=0.01, help="Measured seconds of a batch size.")] = 5.0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py wrote.")] = Path("models"),
    name: Annotated[str, typer.Option(help="Of the run to write into; a new one unless given.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
) -> None:
    """What one core does of a task without HTTP, by batch size: the figure that served ones are held to."""
    sizes = tuple(int(size) for size in positive_numbers(batch_sizes, "--batch-sizes"))
    if min(sizes) < 1:
        raise typer.BadParameter("each should be at least 1", param_hint="--batch-sizes")
    wanted = chosen(tasks, TASKS, "--tasks")
    manifest = manifest_of(models)

    from benchmark.experiments.offline_throughput import Measurement, measure_tasks, table
    from benchmark.measure.processes import ProcessFailed

    name = name or f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-offline-throughput-{manifest['source']}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measurement = Measurement(models, manifest, measured_cores(), sizes, seconds)
        path, record = measure_tasks(measurement, wanted, results / name, plainly)
    except KeyboardInterrupt:
        console.print("\nstopped; nothing was written")
        raise typer.Exit(130) from None
    except ProcessFailed as error:
        raise fail(error) from None
    except OSError as error:
        raise fail(f"cannot write the results under {results}: {error.strerror or error}") from None
    for task, found in record["tasks"].items():
        console.print(table(task, found))
    plainly(path)
