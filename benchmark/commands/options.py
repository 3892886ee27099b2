"""Command line options that several commands share, each with its help."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from benchmark.runs.records import SERVERS, TASKS, WORKLOADS, ServerName, TaskName, WorkloadName

MAX = 10_000
RESULTS = Path("results")
Count = Annotated[int, Field(ge=1, le=MAX)]
PositiveNumber = Annotated[float, Field(gt=0, le=MAX)]
# A name and the texts per request: `unique` or `unique:16`.
Workload = Annotated[
    tuple[WorkloadName, Annotated[int, Field(ge=1, le=64)]],
    BeforeValidator(lambda text: tuple(text.split(":")) if ":" in text else (text, 1)),
]


def comma_list(item: Any, help: str, metavar: str = "NAME,...", default: str | bool = True) -> Any:
    """A typer option of comma-separated items of the type `item`; equal ones count once."""
    adapter = TypeAdapter(Annotated[list[item], Field(min_length=1)])

    def parse(text: str | Sequence[Any]) -> Sequence[Any]:
        if not isinstance(text, str):  # the default
            return text
        parts = [part.strip() for part in text.split(",") if part.strip()]
        try:
            return tuple(dict.fromkeys(adapter.validate_python(parts)))
        except ValidationError as errors:
            error = errors.errors()[0]
            raise typer.BadParameter(f"{error['input'] or text!r}: {error['msg']}") from None

    return typer.Option(parser=parse, metavar=metavar, help=help, show_default=default)


Servers = Annotated[Sequence[str], comma_list(ServerName, f"Servers: {', '.join(SERVERS)}.")]
Tasks = Annotated[Sequence[str], comma_list(TaskName, f"Tasks: {', '.join(TASKS)}.")]
Workloads = Annotated[
    Sequence[tuple[str, int]],
    comma_list(Workload, f"{', '.join(WORKLOADS)}; unique:16 sends batches of 16.", default="unique"),
]
UserCounts = Annotated[Sequence[int], comma_list(Count, "Numbers of concurrent users.", "N,...")]
BatchSizes = Annotated[Sequence[int], comma_list(Count, "Texts per batch.", "N,...")]
Rates = Annotated[
    Sequence[float],
    comma_list(PositiveNumber, "Requests per second; instead of --multiples.", "RPS,...", default=False),
]
Multiples = Annotated[Sequence[float], comma_list(PositiveNumber, "Rates over the capacity.", "X,...")]
Server = Annotated[ServerName, typer.Option(help="Server to measure.")]
Task = Annotated[TaskName, typer.Option(help="Task to measure.")]
Users = Annotated[int, typer.Option(min=1, max=MAX, help="Concurrent users (closed loop).")]
Repeats = Annotated[int, typer.Option(min=1, max=100, help="Rounds; servers take turns in each.")]

Duration = Annotated[float, typer.Option(min=1, help="Measured seconds of each cell, rate or step.")]
MaxDuration = Annotated[float | None, typer.Option(min=1, help="Longest duration of an unstable cell.")]
Warmup = Annotated[float, typer.Option(min=0, help="Seconds of load before measuring.")]
Settle = Annotated[float, typer.Option(min=0, help="Longest wait for each user's first answer, in seconds.")]
LoadGeneratorLimit = Annotated[
    float, typer.Option(min=0, help="Seconds to measure the load generator's own limit per level; 0: skip.")
]
DeadlineMs = Annotated[int, typer.Option(min=1, max=600_000, help="Deadline of requests (X-Timeout-Ms).")]
Recover = Annotated[float, typer.Option(min=0, help="Seconds without load before the recovery check.")]
CapacityUsers = Annotated[int, typer.Option(min=1, max=MAX, help="Users when measuring the capacity.")]
CapacityDuration = Annotated[float, typer.Option(min=1, help="Seconds of measuring the capacity.")]

Seed = Annotated[int, typer.Option(help="Seed of the order of texts and of arrival times.")]
Models = Annotated[Path, typer.Option(help="Folder that optimize_model.py prepared.")]
ServerCores = Annotated[int | None, typer.Option(min=1, help="Cores of the server; by default all but one.")]
Name = Annotated[str, typer.Option(help="Name of the run's folder; by default time, kind and models.")]
Results = Annotated[Path, typer.Option(help="Folder of all runs.")]
Charts = Annotated[bool, typer.Option(help="Draw charts and write the report at the end.")]
