"""`python -m benchmark ladder`: what each decision between the baseline and the fastest server is worth."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands import RESULTS
from benchmark.commands.draw import draw
from benchmark.commands.options import chosen, console, fail, manifest_of, measured_cores, user_counts
from benchmark.runs.records import TASKS, RunFiles


def ladder(
    tasks: Annotated[str, typer.Option(help=f"Which, comma-separated: {', '.join(TASKS)}.")] = ",".join(
        TASKS
    ),
    users: Annotated[str, typer.Option(help="Levels of concurrent users.")] = "50",
    duration: Annotated[float, typer.Option(min=1, help="Measured seconds of a cell.")] = 20.0,
    max_duration: Annotated[
        float, typer.Option(min=1, help="Longest window of a cell that has too few answers or is unstable.")
    ] = 120.0,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Rounds over all rungs.")] = 3,
    warmup: Annotated[float, typer.Option(min=0, help="Least seconds of load before measuring.")] = 3.0,
    settle: Annotated[
        float, typer.Option(min=0, help="Longest wait in seconds for every user's first answer.")
    ] = 120.0,
    client_ceiling: Annotated[
        float, typer.Option(min=0, help="Seconds to measure the load generator's own limit at each level.")
    ] = 3.0,
    models: Annotated[Path, typer.Option(help="What optimize_model.py --float32 wrote.")] = Path("models"),
    plain_models: Annotated[
        Path | None,
        typer.Option(help="What optimize_model.py --kernels onnxruntime wrote; MODELS-onnxruntime."),
    ] = None,
    server_cores: Annotated[
        int | None, typer.Option(min=1, help="Cores of the server; all but one unless given.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the run; an unfinished run of that name goes on.")] = "",
    results: Annotated[Path, typer.Option(help="The folder that holds runs.")] = RESULTS,
    charts: Annotated[bool, typer.Option(help="Draw charts and report at the end.")] = True,
) -> None:
    """Measures each rung of the ladder in interleaved rounds. Interrupted, it goes on with --name."""
    levels, chosen_tasks = user_counts(users), chosen(tasks, TASKS, "--tasks")
    manifest = manifest_of(models)

    from benchmark.commands.session import begin, go_through, one_line_errors
    from benchmark.experiments.ladder import APART, CLIMB, KIND, NATIVE, LadderPlan, Models, configurations
    from benchmark.experiments.ladder_figures import ladder_of, table, write_ladder
    from benchmark.measure.runner import Runner
    from model_export.manifest import float32_folder

    float32_dir = float32_folder(models)
    if not (float32_dir / "manifest.json").is_file():
        raise fail(f"{float32_dir} is missing; `python optimize_model.py --float32` prepares it")
    int8 = Models(models, manifest)
    plain_dir = plain_models or models.with_name(f"{models.name}-onnxruntime")
    plain = Models(plain_dir, manifest_of(plain_dir)) if int8.kernels == NATIVE else int8
    if plain.kernels == NATIVE:
        raise fail(f"{plain.folder} is made for kernels of its own, not for ONNX Runtime's")
    known = configurations(int8, plain, Models(float32_dir, manifest_of(float32_dir)))
    plan = LadderPlan(
        servers=tuple(known),
        tasks=chosen_tasks,
        workloads=((CLIMB, 1), (APART, 1)),
        users=levels,
        repeats=repeats,
        duration_s=duration,
        warmup_s=warmup,
        settle_s=settle,
        max_duration_s=max(duration, max_duration),
        client_ceiling_s=client_ceiling,
    )
    started = datetime.now(UTC)
    name = name or f"{started:%Y-%m-%dT%H-%M-%S}-ladder-{manifest['source']}"
    files = RunFiles(results / name)
    runner = Runner(plan, files, models, manifest, measured_cores(server_cores), 0, known)
    with one_line_errors(files, f"--name {name} (make: RUN={name})"):
        begin(files, plan, started, manifest, runner.environment, kind=KIND)
        failed = go_through(runner)
        found = ladder_of(files)
        console.print(table(found))
        console.print(str(write_ladder(files, found)), highlight=False, soft_wrap=True)
        if charts:
            draw(files)
        if failed:
            raise failed
